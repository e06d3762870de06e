// What all charts share: the colours of the page's scheme, and axes whose ticks are durations, sums and counts.

const data = JSON.parse(document.getElementById("data").textContent);

const SHAPES = ["circle", "rect", "triangle", "rectRot", "rectRounded", "star", "crossRot", "cross"];
const STROKED = new Set(["star", "crossRot", "cross"]);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const series = (number) => colour(`c${number % 8}`);

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const TIMES = [
  .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE,
  20 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY,
  30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY, 365 * DAY, 730 * DAY, 1825 * DAY, 3650 * DAY, 36500 * DAY,
];
const duration = (seconds) => seconds === 0 ? "0" : seconds === MINUTE ? "1 min" : seconds === HOUR ? "1 h" : seconds === DAY ? "1 d" : time(seconds);

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const part of [1, 2, 5]) found.push(part * 10 ** power);
  return found;
}

function doublings(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log2(low)); power <= Math.ceil(Math.log2(high)); power++) found.push(2 ** power);
  return found;
}

// Steps of a linear axis that a reader can add up.
function even(low, high, most, steps) {
  const step = steps.find((size) => (high - low) / size <= most) || steps[steps.length - 1];
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

const KINDS = {
  time: { text: duration, log: () => TIMES, steps: () => TIMES },
  cost: { text: (value) => value < 1 ? `$${significant(value, 2)}` : money(value), log: decades, steps: (l, h) => decades((h - l) / 1e3, h) },
  energy: { text: energy, log: decades, steps: (l, h) => decades((h - l) / 1e3, h) },
  gpus: { text: count, log: doublings, steps: (l, h) => decades(1, h) },
  times: { text: (value) => significant(value), log: doublings, steps: (l, h) => decades((h - l) / 1e3, h) },
};

// An axis of one kind of figure; `cell` is the room that a tick's text takes.
function axis(kind, logarithmic, title, extra = {}) {
  const { text, log, steps } = KINDS[kind];
  const across = extra.axis !== "y";
  return {
    type: logarithmic ? "logarithmic" : "linear",
    grid: { color: colour("grid") },
    border: { color: colour("line") },
    title: { display: true, text: title, color: colour("soft") },
    ticks: { color: colour("soft"), callback: (value) => text(value), autoSkip: false, maxRotation: 0 },
    afterBuildTicks(scale) {
      const room = across ? scale.chart.width : scale.chart.height;
      const most = Math.max(2, Math.floor(room / (across ? 76 : 38)));
      const { min, max } = scale;
      let values = logarithmic ? log(min, max).filter((value) => value >= min && value <= max) : [];
      // A narrow stretch of a logarithmic axis is nearly linear.
      if (values.length < 2) values = even(min, max, most, steps(min, max));
      if (values.length > most) {
        const every = Math.ceil(values.length / most);
        values = values.filter((_, place) => place % every === 0);
      }
      // Two ticks of one text would say that nothing lies between them.
      scale.ticks = values.filter((value, place) => !place || text(value) !== text(values[place - 1])).map((value) => ({ value }));
    },
    ...extra,
  };
}

// The least and most of some figures with a little room around them.
function limits(values, logarithmic) {
  const known = values.filter((value) => value !== null && value > 0);
  const low = Math.min(...known), high = Math.max(...known);
  if (!logarithmic) return { min: 0, max: high * 1.15 };
  const room = Math.max((high / low) ** 0.04, (1.5 * low / high) ** 0.5);
  return { min: low / room, max: high * room };
}

const shared = () => ({
  animation: false,
  responsive: true,
  maintainAspectRatio: false,
  font: { family: "inherit" },
  layout: { padding: { right: 12, top: 6 } },
});

const labels = () => ({ color: colour("ink"), usePointStyle: true, boxWidth: 8, boxHeight: 8 });

const live = [];
function chart(id, config) {
  const made = new Chart(document.getElementById(id), config);
  live.push(made);
  return made;
}

// A legend of buttons that show and hide the parts of a chart.
function legend(list, entries) {
  list.replaceChildren(...entries.map(({ name, mark, shown, toggle }) => {
    const button = element("button", { type: "button", "aria-pressed": String(shown) }, mark, name);
    button.addEventListener("click", () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(now));
      toggle(now);
    });
    return element("li", {}, button);
  }));
}

// The shape of a series, for a legend.
function mark(shape, fill, line = false) {
  const paths = {
    circle: "M8 2a6 6 0 1 0 .01 0z", rect: "M3 3h10v10H3z", triangle: "M8 2l7 12H1z", rectRot: "M8 1l7 7-7 7-7-7z",
    rectRounded: "M5 3h6a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2z",
    star: "M8 1v14M1 8h14M3 3l10 10M3 13L13 3", crossRot: "M2 2l12 12M2 14L14 2", cross: "M8 1v14M1 8h14",
  };
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("aria-hidden", "true");
  path.setAttribute("d", line ? "M0 8h16" : paths[shape]);
  path.setAttribute(line || STROKED.has(shape) ? "stroke" : "fill", fill);
  path.setAttribute("stroke-width", "3");
  if (line || STROKED.has(shape)) path.setAttribute("fill", "none");
  drawing.append(path);
  return drawing;
}

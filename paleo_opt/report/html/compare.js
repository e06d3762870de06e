// Two strategies side by side. At first the recommended and the one on the front that a reader would weigh it against.

const picks = [];

function firstPicks() {
  const places = Object.keys(data.marks).map(Number);
  const wanted = (name) => places.find((at) => data.marks[at].includes(name));
  const candidates = [data.recommended, wanted("knee"), wanted("cheapest"), wanted("fewest GPUs"), wanted("fastest"), data.front.length - 1, 0];
  for (const at of candidates) {
    const point = at === undefined || at === null ? undefined : data.front[at];
    if (point !== undefined && picks.length < 2 && !picks.includes(point)) picks.push(point);
  }
}

function pick(point) {
  const at = picks.indexOf(point);
  if (at >= 0) picks.splice(at, 1);
  else {
    if (picks.length === 2) picks.shift();
    picks.push(point);
  }
  redrawFront();
  compare();
}

// Of figures with a direction, less is better; the last column says how B stands to A.
const ROWS = [
  ["where", (point) => standing(point)],
  ["cluster", (point, found) => found.cluster],
  ["devices", (point, found) => found.devices],
  ["split", (point, found) => found.divided],
  ["micro-batch", (point, found) => found.passes > 1 ? `${count(found.micro)} × ${count(found.passes)} passes` : count(found.micro)],
  ["global batch", (point, found) => count(found.batch)],
  ["collective", (point, found) => found.collective],
  ["precision", (point, found) => found.precision],
  ["a node-hour", (point, found) => money(found.price)],
  ["memory of a device", (point, found) => `${memory(points.memory[point])} of ${memory(found.capacity)}`],
  ["step", (point) => time(points.step[point]), (point) => points.step[point]],
  ["time to target", (point) => time(points.time[point]), (point) => points.time[point]],
  ["cost", (point) => money(points.cost[point]), (point) => points.cost[point]],
  ["energy", (point) => energy(points.energy[point]), (point) => points.energy[point]],
];

function compare() {
  const [a, b] = picks, both = b !== undefined;
  const box = document.getElementById("compare");
  if (a === undefined) {
    box.replaceChildren(element("p", { class: "note" }, "Nothing is picked: click a point of the chart, or “compare” in the table below."));
  } else {
    const found = picks.map(describe);
    const head = element("tr", {}, element("td"), element("th", { scope: "col" }, `A: ${found[0].title}`));
    if (both) head.append(element("th", { scope: "col" }, `B: ${found[1].title}`), element("th", { scope: "col" }, "B against A"));
    const rows = ROWS.map(([name, text, figure]) => {
      const row = element("tr", {}, element("th", { scope: "row" }, name), ...picks.map((point, at) => element("td", {}, text(point, found[at]))));
      if (both) {
        const cell = element("td", {}, figure ? against(figure(b), figure(a)) : "");
        if (figure && figure(b) !== null && figure(a) !== null && cell.textContent !== "the same") cell.className = figure(b) < figure(a) ? "less" : "more";
        row.append(cell);
      }
      return [row, picks.map((point, at) => text(point, found[at]))];
    }).filter(([, texts]) => texts.some((text) => text !== "–")).map(([row]) => row);
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
    box.replaceChildren(element("div", { class: "frame", tabindex: "0" }, table), element("p", { class: "note" }, exchange(a, b)));
  }
  for (const button of document.querySelectorAll(".pick")) {
    const at = picks.indexOf(data.front[Number(button.dataset.place)]);
    button.setAttribute("aria-pressed", String(at >= 0));
    button.textContent = at < 0 ? "compare" : "AB"[at];
  }
}

// What the difference between the two is worth.
function exchange(a, b) {
  if (b === undefined) return "Pick another to compare with.";
  const hours = (points.time[a] - points.time[b]) / HOUR, cost = points.cost[a] === null || points.cost[b] === null ? null : points.cost[b] - points.cost[a];
  if (cost === null || hours * cost <= 0) return hours === 0 ? "" : `${hours > 0 ? "B" : "A"} is faster, and ${cost === null ? "neither has a known price" : "costs no more"}.`;
  const [fast, slow] = hours > 0 ? ["B", "A"] : ["A", "B"];
  return `${fast} saves ${time(Math.abs(hours) * HOUR)} over ${slow} for ${money(Math.abs(cost))} more: ${money(Math.abs(cost / hours))} for each hour saved.`;
}

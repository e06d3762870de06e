// The front among all strategies: point to read, click to compare.

const FIGURES = { cost: "cost", energy: "energy", gpus: "GPUs" };
const WRITTEN = { cost: money, energy, gpus: (value) => plural(value, "GPU") };
const points = data.points;
const size = points.gpus.length;
const known = (figure) => points[figure].some((value) => value !== null);
const onFront = new Map(data.front.map((point, place) => [point, place]));
const clusterOf = (point) => data.blocks[points.block[point]][0];
const view = { y: data.against, logx: true, logy: true, highlight: -1, hidden: new Set(), at: null };

// What one point is, in words: title, then lines.
function describe(point) {
  const [cluster, precision, split, tensor] = data.blocks[points.block[point]];
  const { name, device, perNode } = data.clusters[cluster];
  const gpus = points.gpus[point], nodes = Math.ceil(gpus / perNode);
  const micro = points.micro[point], passes = points.passes[point];
  const workers = points.data ? points.data[point] : split === "model" ? gpus / tensor : gpus;
  const divided = { data: `data ${count(workers)}`, hybrid: `hybrid: data ${count(workers)}, marked layers ÷ ${tensor}`, model: `model ÷ ${tensor}, data ${count(workers)}` }[split] || data.splits[points.split[point]];
  const spent = points.cost[point] === null ? plural(gpus, "GPU") : money(points.cost[point]);
  return {
    title: `${spent} in ${time(points.time[point])}`,
    cluster: name,
    gpus,
    divided,
    micro,
    passes,
    batch: workers * micro * passes,
    collective: gpus > 1 ? data.collectives[points.collective[point]] : "–",
    precision,
    devices: `${plural(gpus, "GPU")} ${nodes * perNode > gpus ? "on" : "="} ${plural(nodes, "node")} × ${perNode} ${device}${nodes * perNode > gpus ? ` (${nodes * perNode - gpus} idle)` : ""}`,
    price: data.clusters[cluster].price,
    capacity: data.clusters[cluster].memory / 1e6,
  };
}

function standing(point) {
  const place = onFront.get(point);
  if (place === undefined) return "behind the front";
  const names = data.marks[place] || [], saved = data.saved[place];
  const hour = data.against === "cost" && saved !== null ? `an hour saved costs ${money(saved)}` : "";
  return ["on the front", ...names, hour].filter(Boolean).join(" · ");
}

function datasets() {
  const y = points[view.y];
  const groups = new Map();
  const add = (key, point) => groups.has(key) ? groups.get(key).push(point) : groups.set(key, [point]);
  for (let point = 0; point < size; point++) {
    const cluster = clusterOf(point);
    if (y[point] === null || view.hidden.has(data.clusters[cluster].named ? cluster : -1)) continue;
    const kind = onFront.has(point) ? "front" : cluster === view.highlight ? "light" : data.clusters[cluster].named ? "behind" : "other";
    add(kind === "other" ? "other" : `${kind} ${cluster}`, point);
  }
  const made = [];
  for (const [key, members] of groups) {
    const [kind, number] = key.split(" ");
    const named = kind !== "other" && data.clusters[number].named;
    const shape = named ? SHAPES[number % SHAPES.length] : "circle";
    const fill = kind === "other" ? colour("other") : kind === "light" ? colour("ink") : named ? series(number) : colour("front");
    made.push({
      label: kind === "other" ? "other clusters" : data.clusters[number].name,
      order: { front: 1, light: 2, behind: 3, other: 4 }[kind],
      data: members.map((point) => ({ x: points.time[point], y: y[point], point })),
      pointStyle: shape,
      pointRadius: { front: 5.5, light: 4, behind: size < 500 ? 3.5 : 2.5, other: size < 500 ? 3 : 1.8 }[kind],
      pointBackgroundColor: kind === "behind" ? `${fill}70` : fill,
      pointBorderColor: STROKED.has(shape) ? fill : kind === "front" ? colour("card") : fill,
      // Where marks overlap, their rims would hide them.
      pointBorderWidth: STROKED.has(shape) ? 2 : kind === "front" && data.front.length < 40 ? 1 : 0,
      pointHoverRadius: 7,
    });
  }
  if (view.y === data.against)
    made.push({
      label: "front", order: 5, showLine: true, stepped: "before", pointRadius: 0, pointHitRadius: 0, borderWidth: 1.5, borderColor: colour("front"),
      data: data.line.map((place) => ({ x: points.time[data.front[place]], y: y[data.front[place]] })),
    });
  made.push({
    label: "compared", order: 0, pointStyle: "circle", pointRadius: 10, pointHoverRadius: 10, pointBackgroundColor: "transparent", pointBorderWidth: 2.5,
    pointBorderColor: colour("ink"),
    data: picks.filter((point) => y[point] !== null).map((point) => ({ x: points.time[point], y: y[point] })),
  });
  return made;
}

// The named points of the front and the compared ones have their names beside them.
const names = {
  id: "names",
  afterDatasetsDraw({ ctx, chartArea, scales }) {
    ctx.save();
    ctx.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    picks.forEach((point, place) => {
      const value = points[view.y][point];
      if (value === null) return;
      const x = scales.x.getPixelForValue(points.time[point]), y = scales.y.getPixelForValue(value);
      if (x > chartArea.right || y < chartArea.top) return;
      const left = x - 16 < chartArea.left ? 16 : -16, down = y + 16 > chartArea.bottom ? -16 : 16;
      ctx.lineWidth = 4;
      ctx.strokeStyle = colour("card");
      ctx.strokeText("AB"[place], x + left, y + down);
      ctx.fillStyle = colour("ink");
      ctx.fillText("AB"[place], x + left, y + down);
    });
    ctx.restore();
  },
};

// Logarithmic axes show every point; on linear ones the slowest would squeeze the front into a corner.
const span = (figure, logarithmic) => limits(logarithmic ? points[figure] : data.front.map((point) => points[figure][point]), logarithmic);

let front = null;
function drawFront() {
  const config = {
    type: "scatter",
    data: { datasets: datasets() },
    plugins: [names],
    options: {
      ...shared(),
      scales: {
        x: axis("time", view.logx, "time to the target", span("time", view.logx)),
        y: axis(view.y, view.logy, FIGURES[view.y], { axis: "y", ...span(view.y, view.logy) }),
      },
      plugins: { legend: { display: false }, tooltip: { enabled: false } },
      events: [],
    },
  };
  if (front) front.destroy();
  front = new Chart(document.getElementById("frontchart"), config);
}

function redrawFront() {
  front.data.datasets = datasets();
  front.update();
}

// The point nearest to a place on the canvas, those of the front first; null where none is near.
function nearest(x, y) {
  let best = null, least = 26 ** 2;
  const { left, right, top, bottom } = front.chartArea;
  for (let point = 0; point < size; point++) {
    const value = points[view.y][point], cluster = clusterOf(point);
    if (value === null || view.hidden.has(data.clusters[cluster].named ? cluster : -1)) continue;
    const shownX = front.scales.x.getPixelForValue(points.time[point]), shownY = front.scales.y.getPixelForValue(value);
    if (shownX < left - 1 || shownX > right + 1 || shownY < top - 1 || shownY > bottom + 1) continue;
    const across = shownX - x, down = shownY - y;
    const distance = (across ** 2 + down ** 2) * (onFront.has(point) ? 0.25 : 1);
    if (distance < least) [best, least] = [point, distance];
  }
  return best;
}

function showTip(point) {
  const tip = document.getElementById("tip");
  view.at = point;
  tip.hidden = point === null;
  if (point === null) return;
  const found = describe(point);
  const lines = [
    found.cluster,
    found.devices,
    found.gpus > 1 ? `${found.divided} · ${found.collective} · ${found.precision}` : found.precision,
    `micro-batch ${count(found.micro)}${found.passes > 1 ? ` × ${count(found.passes)} passes` : ""} · global batch ${count(found.batch)}`,
    `step ${time(points.step[point])} · ${memory(points.memory[point])} of ${memory(found.capacity)}${points.energy[point] === null ? "" : ` · ${energy(points.energy[point])}`}`,
    standing(point),
  ];
  tip.replaceChildren(element("strong", {}, found.title), ...lines.map((line) => element("div", {}, line)));
  const x = front.scales.x.getPixelForValue(points.time[point]);
  const y = front.scales.y.getPixelForValue(points[view.y][point]);
  const { offsetWidth: wide, offsetHeight: high } = tip;
  const { width, height } = front;
  const left = x + 14 + wide <= width ? x + 14 : x - 14 - wide;
  tip.style.left = `${Math.max(0, Math.min(left, width - wide))}px`;
  // On a phone it is as wide as the chart: away from the point, not on its neighbours.
  const above = wide > 0.8 * width ? (y - 14 - high >= 0 ? 0 : height - high) : y - 14 - high >= 0 ? y - 14 - high : y + 14;
  tip.style.top = `${Math.max(0, Math.min(above, height - high))}px`;
}

function place(event) {
  const frame = event.currentTarget.getBoundingClientRect();
  return nearest(event.clientX - frame.left, event.clientY - frame.top);
}

function listen() {
  const canvas = document.getElementById("frontchart");
  canvas.addEventListener("pointermove", (event) => { showTip(place(event)); canvas.style.cursor = view.at === null ? "" : "pointer"; });
  canvas.addEventListener("pointerleave", () => showTip(null));
  canvas.addEventListener("blur", () => showTip(null));
  canvas.addEventListener("click", (event) => { const point = place(event); showTip(point); if (point !== null) pick(point); });
  canvas.addEventListener("keydown", (event) => {
    const now = onFront.get(view.at), last = data.front.length - 1;
    const moves = { ArrowRight: now === undefined ? 0 : Math.min(now + 1, last), ArrowLeft: now === undefined ? last : Math.max(now - 1, 0), Home: 0, End: last };
    if (event.key in moves) {
      showTip(data.front[moves[event.key]]);
      document.getElementById("spoken").textContent = document.getElementById("tip").innerText;
    } else if ((event.key === "Enter" || event.key === " ") && view.at !== null) pick(view.at);
    else if (event.key === "Escape") showTip(null);
    else return;
    event.preventDefault();
  });
}

function controls() {
  const up = document.getElementById("against"), highlight = document.getElementById("highlight");
  for (const figure of Object.keys(FIGURES)) if (known(figure)) up.append(new Option(FIGURES[figure], figure, false, figure === view.y));
  highlight.append(new Option("none", "-1"));
  data.clusters.forEach(({ name, named }, number) => { if (!named) highlight.append(new Option(name, String(number))); });
  highlight.parentElement.hidden = highlight.options.length < 2;
  up.addEventListener("change", () => { view.y = up.value; document.getElementById("logyname").textContent = FIGURES[up.value]; showTip(null); drawFront(); });
  highlight.addEventListener("change", () => { view.highlight = Number(highlight.value); redrawFront(); });
  for (const id of ["logx", "logy"]) {
    const box = document.getElementById(id);
    box.addEventListener("change", () => { view[id] = box.checked; showTip(null); drawFront(); });
  }
}

function clusterLegend() {
  const entries = data.clusters.flatMap(({ name, named }, number) => named ? [{
    name, mark: mark(SHAPES[number % SHAPES.length], series(number)), shown: !view.hidden.has(number),
    toggle: (now) => { now ? view.hidden.delete(number) : view.hidden.add(number); redrawFront(); },
  }] : []);
  const others = data.clusters.filter(({ named }) => !named).length;
  if (others) entries.push({
    name: `${others} other cluster${others === 1 ? "" : "s"}`, mark: mark("circle", colour("other")), shown: !view.hidden.has(-1),
    toggle: (now) => { now ? view.hidden.delete(-1) : view.hidden.add(-1); redrawFront(); },
  });
  legend(document.getElementById("clusters"), entries);
}

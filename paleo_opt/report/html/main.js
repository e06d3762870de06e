// The other charts, and the start.

function drawShifts() {
  const box = document.getElementById("shiftbox"), list = document.getElementById("shiftlegend");
  if (!data.shifts.length) {
    box.hidden = list.hidden = true;
    return;
  }
  const now = { name: "as it is", time: data.line.map((at) => points.time[data.front[at]]), spent: data.line.map((at) => points[data.against][data.front[at]]) };
  const worlds = [now, ...data.shifts].filter((world) => world.time.length);
  const datasets = worlds.map((world, number) => ({
    label: world.name,
    data: world.time.map((x, at) => ({ x, y: world.spent[at] })),
    showLine: true, stepped: "before", pointRadius: world.time.length === 1 ? 4 : 2,
    borderColor: number ? series(number - 1) : colour("front"), pointBackgroundColor: number ? series(number - 1) : colour("front"),
    borderWidth: number ? 1.5 : 3, borderDash: number ? [[], [6, 3], [2, 3], [8, 3, 2, 3]][number % 4] : [],
  }));
  const made = chart("shiftchart", {
    type: "scatter",
    data: { datasets },
    options: {
      ...shared(),
      scales: {
        x: axis("time", true, "time to the target", limits(worlds.flatMap((world) => world.time), true)),
        y: axis(data.against, true, FIGURES[data.against], { axis: "y", ...limits(worlds.flatMap((world) => world.spent), true) }),
      },
      plugins: {
        legend: { display: false },
        tooltip: { callbacks: { label: ({ dataset, raw }) => `${dataset.label}: ${WRITTEN[data.against](raw.y)} in ${time(raw.x)}` } },
      },
    },
  });
  legend(list, datasets.map((dataset, number) => ({
    name: dataset.label, mark: mark("", dataset.borderColor, true), shown: true,
    toggle: (visible) => { made.setDatasetVisibility(number, visible); made.update(); },
  })));
}

function drawGpus() {
  const { gpus, time: times, cost, recommended } = data.byGpus;
  const line = (label, values, axisId, number) => ({
    label, yAxisID: axisId, data: gpus.map((x, at) => ({ x, y: values[at] })), showLine: true,
    borderColor: series(number), pointBackgroundColor: series(number), pointStyle: SHAPES[number], borderWidth: 2,
    pointRadius: gpus.map((value) => value === recommended ? 7 : 3),
  });
  const priced = cost.some((value) => value !== null);
  chart("gpuschart", {
    type: "scatter",
    data: { datasets: [line("time", times, "y", 0), ...(priced ? [line("cost", cost, "cost", 1)] : [])] },
    options: {
      ...shared(),
      scales: {
        x: axis("gpus", true, "GPUs", limits(gpus, true)),
        y: axis("time", true, "time", { axis: "y", ...limits(times, true) }),
        ...(priced ? { cost: axis("cost", true, "cost", { axis: "y", position: "right", ...limits(cost, true), grid: { drawOnChartArea: false } }) } : {}),
      },
      plugins: {
        legend: { labels: labels() },
        tooltip: { callbacks: { label: ({ dataset, raw }) => `${plural(raw.x, "GPU")}: ${dataset.yAxisID === "y" ? time(raw.y) : money(raw.y)}` } },
      },
    },
  });
}

function drawScaling() {
  const { workers, speedup, collective } = data.scaling;
  const datasets = Object.entries(speedup).map(([name, values], number) => ({
    label: name, data: workers.map((x, at) => ({ x, y: values[at] })), showLine: true, pointRadius: 3, pointStyle: SHAPES[number % SHAPES.length],
    borderColor: series(number), pointBackgroundColor: series(number), borderWidth: name === collective ? 3 : 1.5,
  }));
  datasets.push({
    label: "nothing lost", data: workers.map((x) => ({ x, y: x })), showLine: true, pointRadius: 0, pointHitRadius: 0, pointStyle: "line",
    borderColor: colour("soft"), borderWidth: 1.5, borderDash: [4, 4],
  });
  const values = [...Object.values(speedup).flat(), ...workers];
  chart("scalingchart", {
    type: "scatter",
    data: { datasets },
    options: {
      ...shared(),
      scales: {
        x: axis("gpus", true, "GPUs", limits(workers, true)),
        y: axis("times", true, "speedup", { axis: "y", ...limits(values, true) }),
      },
      plugins: {
        legend: { labels: labels() },
        tooltip: { callbacks: { label: ({ dataset, raw }) => `${dataset.label}, ${plural(raw.x, "GPU")}: ${significant(raw.y)} times, efficiency ${percent(raw.y / raw.x)}` } },
      },
    },
  });
}

function drawAll() {
  live.splice(0).forEach((made) => made.destroy());
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  clusterLegend();
  drawFront();
  drawShifts();
  drawGpus();
  drawScaling();
}

firstPicks();
controls();
drawAll();
listen();
compare();
for (const button of document.querySelectorAll(".pick")) button.addEventListener("click", () => pick(data.front[Number(button.dataset.place)]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("resize", () => showTip(null));
document.documentElement.dataset.ready = "yes";

// A line chart: series are told apart by dash and marker before colour.
const AREA = { width: 440, height: 230, left: 54, right: 12, top: 10, bottom: 36 };
const MARKERS = [
  (x, y) => draw("circle", { cx: x, cy: y, r: 3.4 }),
  (x, y) => draw("rect", { x: x - 3.2, y: y - 3.2, width: 6.4, height: 6.4 }),
  (x, y) => draw("path", { d: `M${x} ${y - 4.2}l4 7h-8z` }),
  (x, y) => draw("path", { d: `M${x} ${y - 4.4}l4.4 4.4l-4.4 4.4l-4.4 -4.4z` }),
  (x, y) => draw("path", { d: `M${x} ${y + 4.2}l4 -7h-8z` }),
];

// `series`: [{name, points: [[epoch, value], ...]}]; `across` says what the horizontal axis counts.
function chart(title, series, across = "epoch") {
  const drawn = series.filter((one) => one.points.length);
  const all = drawn.flatMap((one) => one.points);
  const xs = range(all.map((point) => point[0])), ys = range(all.map((point) => point[1]));
  const xTicks = ticks(xs, 6, true), yTicks = ticks(ys, 5, false);
  const low = Math.min(ys[0], yTicks[0]), high = Math.max(ys[1], yTicks[yTicks.length - 1]);
  const right = AREA.width - AREA.right, bottom = AREA.height - AREA.bottom;
  const x = (value) => AREA.left + (right - AREA.left) * (xs[1] > xs[0] ? (value - xs[0]) / (xs[1] - xs[0]) : 0.5);
  const y = (value) => bottom - (bottom - AREA.top) * (high > low ? (value - low) / (high - low) : 0.5);

  const svg = draw("svg", {
    viewBox: `0 0 ${AREA.width} ${AREA.height}`, role: "img",
    "aria-label": `${title}. ${drawn.map((one) => `${one.name}: ${shown(one.points.at(-1)[1])} at the end`).join("; ")}`,
  });
  for (const tick of yTicks) {
    svg.append(draw("line", { class: "grid", x1: AREA.left, x2: right, y1: y(tick), y2: y(tick) }));
    svg.append(draw("text", { class: "tick", x: AREA.left - 6, y: y(tick) + 4, "text-anchor": "end" }, minus(String(tick))));
  }
  for (const tick of xTicks) {
    svg.append(draw("text", { class: "tick", x: x(tick), y: bottom + 16, "text-anchor": "middle" }, shown(tick)));
  }
  svg.append(draw("line", { class: "axis", x1: AREA.left, x2: right, y1: bottom, y2: bottom }));
  svg.append(draw("text", { class: "tick", x: (AREA.left + right) / 2, y: AREA.height - 4, "text-anchor": "middle" }, across));
  drawn.forEach((one, place) => {
    const path = one.points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    svg.append(draw("path", { class: `line ${look(place)}`, d: path }));
    const every = Math.max(1, Math.ceil(one.points.length / 8));
    one.points.forEach(([a, b], i) => {
      if ((one.points.length - 1 - i) % every === 0) svg.append(marker(place, x(a), y(b)));
    });
  });
  const readout = make("p", { class: "readout" });
  readAt(svg, readout, drawn, x);
  const legend = make("ul", {}, ...drawn.map((one, place) => make("li", {}, sample(place), one.name)));
  return make("figure", { class: "chart" }, make("h4", {}, title), svg, readout, legend);
}

// The values at the epoch nearest to the pointer.
function readAt(svg, readout, drawn, x) {
  const epochs = [...new Set(drawn.flatMap((one) => one.points.map((point) => point[0])))];
  const cursor = draw("line", { class: "cursor", y1: AREA.top, y2: AREA.height - AREA.bottom, visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * AREA.width;
    const epoch = epochs.reduce((best, one) => (Math.abs(x(one) - at) < Math.abs(x(best) - at) ? one : best));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(epoch));
    cursor.setAttribute("visibility", "visible");
    const values = drawn.map((one) => [one.name, one.points.find((point) => point[0] === epoch)]).filter(([, point]) => point);
    readout.textContent = `epoch ${epoch}: ${values.map(([name, point]) => `${name} ${shown(point[1])}`).join(", ")}`;
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = "";
  });
}

function look(place) {
  return `s${place % 7} d${place % 4}`;
}

function marker(place, x, y) {
  const mark = MARKERS[place % MARKERS.length](x, y);
  mark.setAttribute("class", `dot s${place % 7}`);
  return mark;
}

function sample(place) {
  const line = draw("line", { class: `line ${look(place)}`, x1: 1, x2: 33, y1: 6, y2: 6 });
  return draw("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" }, line, marker(place, 17, 6));
}

function range(values) {
  return values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
}

// Round numbers that cover a range, or lie in it; whole ones where only those make sense.
function ticks([low, high], count, whole) {
  if (low === high) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  if (whole) step = Math.max(1, Math.round(step));
  const [first, last] = whole ? [Math.ceil(low / step), Math.floor(high / step)] : [Math.floor(low / step), Math.ceil(high / step)];
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

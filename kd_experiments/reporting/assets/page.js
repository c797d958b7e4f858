"use strict";
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const PAGE = 50;
let runs = [], names = [], shown = [], first = 0, ticked = [], order = { key: null, down: false };

function make(tag, text, facts = {}, ...inside) {
  const element = document.createElement(tag);
  if (text != null) element.textContent = text;
  for (const [key, value] of Object.entries(facts)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function complain(text) {
  find("#complaint").textContent = text;
  find("#complaint").hidden = !text;
}

function compareValues(a, b, down) {
  const gaps = [a, b].map((value) => value === "" || value == null);
  if (gaps[0] || gaps[1]) return gaps[0] - gaps[1];
  const numbers = [Number(a), Number(b)];
  const sign = numbers.some(Number.isNaN) ? String(a).localeCompare(String(b)) : numbers[0] - numbers[1];
  return down ? -sign : sign;
}

const next = { none: "ascending", ascending: "descending", descending: "none" };

function sortable(table) {
  const body = find("tbody", table), original = all("tr", body), heads = all("thead th", table);
  heads.forEach((head, place) => find("button", head).addEventListener("click", () => {
    const state = next[head.getAttribute("aria-sort")];
    heads.forEach((one) => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", state);
    const value = (row) => { const cell = row.cells[place]; return cell.dataset.value ?? cell.textContent; };
    const rows = state === "none" ? original : [...original].sort((a, b) => compareValues(value(a), value(b), state === "descending"));
    body.append(...rows);
  }));
}

function filterTables() {
  const words = find("#table-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const box of all("details.result")) {
    const title = find("summary", box).textContent.toLowerCase();
    const rows = all("tbody tr", box);
    for (const row of rows) row.hidden = !words.every((word) => title.includes(word) || row.textContent.toLowerCase().includes(word));
    box.hidden = rows.every((row) => row.hidden);
    if (words.length && !box.hidden) box.open = true;
  }
}

const COLUMNS = [["method", "method"], ["seeds", "seeds"], ["stage", "setting"], ["teacher", "teacher"], ["data.train", "images"],
  ["recipe.epochs", "epochs"], ["metrics.test_top1_last", "top-1 (%)"], ["status", "status"], ["finished", "finished (UTC)"]];

function written(value, digits) {
  if (value == null) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return digits ? value.toFixed(digits) : String(Number(value.toPrecision(6)));
  return Array.isArray(value) ? value.join(" ") : String(value);
}

function matches(run, word) {
  const [key, value] = word.split("=", 2);
  if (value !== undefined) return written(run[key] ?? run[names.find((name) => name.endsWith("." + key))]) === value;
  return run.text.includes(word.toLowerCase());
}

function listRuns() {
  const words = find("#run-filter").value.trim().split(/\s+/).filter(Boolean);
  shown = runs.filter((run) => words.every((word) => matches(run, word)));
  if (order.key) shown.sort((a, b) => compareValues(a[order.key], b[order.key], order.down));
  first = Math.min(first, Math.max(0, shown.length - 1));
  const count = runs.length.toLocaleString("en");
  find("#run-count").textContent = shown.length === runs.length ? `${count} runs` : `${shown.length.toLocaleString("en")} of ${count} runs`;
  const rows = shown.slice(first, first + PAGE).map((run) => {
    const box = make("input", null, { type: "checkbox", value: run.signature, "aria-label": `compare ${run.method} ${run.seeds}` });
    box.checked = ticked.includes(run.signature);
    box.addEventListener("change", () => {
      ticked = ticked.filter((one) => one !== run.signature).concat(box.checked ? [run.signature] : []).slice(-2);
      find("#compare").disabled = ticked.length < 2;
      all("#run-list input").forEach((one) => { one.checked = ticked.includes(one.value); });
    });
    const cells = COLUMNS.map(([key], place) => place ? make("td", written(run[key], key.startsWith("metrics") ? 2 : 0))
      : make("td", null, {}, make("a", run.method, { href: `#run=${run.signature}` })));
    return make("tr", null, {}, make("td", null, {}, box), ...cells);
  });
  find("#run-list tbody").replaceChildren(...rows);
  find("#where").textContent = shown.length ? `${first + 1} to ${Math.min(first + PAGE, shown.length)}` : "none";
  find("#fewer").disabled = first === 0;
  find("#further").disabled = first + PAGE >= shown.length;
}

function headRuns() {
  const heads = COLUMNS.map(([key, title]) => {
    const button = make("button", title), head = make("th", null, { scope: "col", "aria-sort": "none" }, button);
    button.addEventListener("click", () => {
      const state = next[head.getAttribute("aria-sort")];
      all("#run-list thead th").forEach((one) => one.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", state);
      order = { key: state === "none" ? null : key, down: state === "descending" };
      listRuns();
    });
    return head;
  });
  find("#run-list thead").replaceChildren(make("tr", null, {}, make("th", "tick", { scope: "col" }), ...heads));
}

function chart(name, epochs, values) {
  const known = values.map((value, place) => [epochs[place], value]).filter(([, value]) => value != null);
  if (known.length < 2) return [];
  const [low, high] = [Math.min(...known.map((p) => p[1])), Math.max(...known.map((p) => p[1]))];
  const [begin, end] = [known[0][0], known[known.length - 1][0]];
  const points = known.map(([x, y]) => `${10 + 280 * (x - begin) / (end - begin || 1)},${115 - 95 * (y - low) / (high - low || 1)}`);
  const title = `${name}: from ${written(known[0][1])} to ${written(known[known.length - 1][1])}`;
  const svg = `<svg viewBox="0 0 300 140" role="img"><polyline points="${points.join(" ")}"/>
    <text x="10" y="14">${written(high)}</text><text x="10" y="134">${written(low)}</text><text x="290" y="134" text-anchor="end">epoch ${end + 1}</text></svg>`;
  const box = make("div", null, { class: "chart" }, make("div", name));
  box.insertAdjacentHTML("beforeend", svg);
  find("svg", box).setAttribute("aria-label", title);
  return [box];
}

function grid(heads, rows) {
  const cells = (row) => row.map((text, place) => make(place ? "td" : "th", text, place ? {} : { scope: "row" }));
  const table = make("table", null, {}, make("thead", null, {}, make("tr", null, {}, ...heads.map((text) => make("th", text, { scope: "col" })))),
    make("tbody", null, {}, ...rows.map((row) => make("tr", null, {}, ...cells(row)))));
  return make("div", null, { class: "wide", tabindex: 0, role: "region", "aria-label": heads.join(", ") }, table);
}

async function showRun(signature) {
  const run = runs.find((one) => one.signature === signature);
  if (!run) return complain(`no run ${signature} in this page`);
  const parts = [make("p", null, {}, make("a", "Back to all runs", { href: "#runs" })), make("h1", `${run.method}, ${run.replicate}`), make("p", run.setting)];
  if (run.error) parts.push(make("h2", "Error"), make("pre", run.error, { id: "error" }));
  const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
  const command = (run.typed || []).some((word) => word.startsWith("+sweeps=")) ? "python -m kd_experiments --multirun " : "python -m kd_experiments ";
  parts.push(make("h2", "Run it again"), make("pre", `${command}${[...(run.typed || []).map(quoted), "rerun=true"].join(" ")}`));
  const chunks = all("script.details"), chunk = chunks[run.chunk];
  const more = chunk ? (await unpack(chunk))[signature] : null;
  if (more) {
    const curves = Object.entries(more.curves).filter(([name]) => name !== "epoch").flatMap(([name, values]) => chart(name, more.curves.epoch, values));
    parts.push(make("h2", "Curves"), make("div", null, { class: "charts", id: "curves" }, ...curves));
  }
  parts.push(make("h2", "Configuration and figures"), grid(["key", "value"], names.filter((name) => run[name] != null && name !== "error").map((name) => [name, written(run[name])])));
  if (more) parts.push(make("h2", "Log"), make("pre", more.log || "empty", { id: "log" }));
  view(parts);
}

function showPair(signatures) {
  const pair = signatures.map((signature) => runs.find((one) => one.signature === signature));
  if (pair.some((run) => !run)) return complain("one of these runs is not in this page");
  const differing = names.filter((name) => written(pair[0][name]) !== written(pair[1][name]));
  const parts = [make("p", null, {}, make("a", "Back to all runs", { href: "#runs" })), make("h1", "Two runs")];
  const unlike = ["stage", "teacher"].filter((key) => pair[0][key] && pair[1][key] && pair[0][key] !== pair[1][key]);
  if (unlike.length) parts.push(make("p", `Their settings differ (${unlike.join(", ")}): the difference of their figures is not that of their methods.`, { class: "warning" }));
  const gap = (name) => pair.every((run) => typeof run[name] === "number") ? written(pair[1][name] - pair[0][name]) : "";
  parts.push(grid(["key", ...pair.map((run) => `${run.method}, ${run.replicate}`), "difference"], differing.map((name) => [name, ...pair.map((run) => written(run[name])), gap(name)])));
  view(parts);
}

function view(parts) {
  find("#view").replaceChildren(...parts);
  find("#view").hidden = false;
  find("#all").hidden = true;
  find("#view").focus();
  scrollTo(0, 0);
}

async function route() {
  complain("");
  const [key, value] = location.hash.slice(1).split("=", 2);
  if (key === "run") return showRun(value);
  if (key === "compare") return showPair(value.split(","));
  find("#view").hidden = true;
  find("#all").hidden = false;
  if (key) document.getElementById(key)?.scrollIntoView();
}

async function start() {
  all("table.sortable").forEach(sortable);
  find("#table-filter").addEventListener("input", filterTables);
  const packed = await unpack(find("#runs-data"));
  names = Object.keys(packed.columns);
  runs = Array.from({ length: packed.count }, (_, place) => {
    const run = {};
    for (const name of names) run[name] = packed.columns[name][place];
    run.setting = run.teacher ? `${run.stage}, taught by ${run.teacher}` : run.stage;
    run.seeds = run.replicate.split(", ").filter((part) => part.startsWith("seed=") || !part.endsWith("=0")).join(", ");
    run.chunk = Math.floor(place / packed.size);
    run.text = [run.method, run.replicate, run.setting, run.status, run.signature, run.sweep].join(" ").toLowerCase();
    return run;
  });
  headRuns();
  listRuns();
  find("#run-filter").addEventListener("input", () => { first = 0; listRuns(); });
  find("#fewer").addEventListener("click", () => { first = Math.max(0, first - PAGE); listRuns(); });
  find("#further").addEventListener("click", () => { first += PAGE; listRuns(); });
  find("#compare").addEventListener("click", () => { location.hash = `compare=${ticked.join(",")}`; });
  addEventListener("hashchange", route);
  route();
}

start().catch((error) => complain(`this page could not be read: ${error.message}`));

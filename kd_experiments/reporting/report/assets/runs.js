// The list of all runs: filtered and sorted as data, shown a page at a time.
const PAGE = 50;
let COLUMNS = [
  // [column, title, decimals of a number]
  ["method", "method"], ["apart", "told apart by"], ["dataset", "data"], ["noise", "label noise"], ["teacher", "teacher"],
  ["student", "student"], ["seed", "seed", 0], ["status", "status"], ["top1", "test top-1, last epoch (%)", 2],
  ["best_val", "test top-1, best on val (%)", 2], ["ece", "test ECE (%)", 2], ["seconds", "training (s)", 1],
  ["started", "started (UTC)"], ["signature", "run"],
];

const list = { index: null, all: [], order: [], from: 0, sorted: null, picked: [], texts: [], configs: [] };

async function startRuns() {
  const table = document.getElementById("run-list");
  if (!table) return;
  list.index = await unpack("data-index");
  list.all = together(list.index.columns);
  COLUMNS = COLUMNS.filter(([name]) => list.index.columns[name].some((value) => value !== null && value !== ""));
  for (const [name, title, digits] of COLUMNS) {
    const head = make("th", { scope: "col", "aria-sort": "none", class: digits === undefined ? null : "number" });
    head.append(make("button", { type: "button", onclick: () => sortRuns(table, head, name) }, title));
    table.tHead.rows[0].append(head);
  }
  for (const id of ["run-filter", "run-status"]) document.getElementById(id).addEventListener("input", filterRuns);
  filterRuns();
}

// Seeds of one method stand together, methods of one setting too.
function together(columns) {
  const of = ["dataset", "noise", "student", "method", "apart", "teacher", "seed", "signature"].map((name) => columns[name]);
  const keys = columns.signature.map((_, place) => of.map((column) => column[place] ?? "").join("\n"));
  return keys.map((_, place) => place).sort((a, b) => collator.compare(keys[a], keys[b]));
}

function sortRuns(table, head, name) {
  const order = turn(table, head);
  list.sorted = order ? { name, order } : null;
  filterRuns();
}

function filterRuns() {
  const { columns } = list.index;
  const wanted = words(document.getElementById("run-filter").value);
  const status = document.getElementById("run-status").value;
  const left = [];
  for (const place of list.all) {
    if (status && columns.status[place] !== status) continue;
    if (wanted.every((word) => holds(place, word))) left.push(place);
  }
  if (list.sorted) {
    const column = columns[list.sorted.name];
    const value = (place) => (column[place] === "" ? null : column[place] ?? null);
    left.sort(by(value, list.sorted.order));
  }
  list.order = left;
  list.from = 0;
  showPage();
}

// Whether a run has a word in what the list shows of it, or a `key=value` in its configuration.
function holds(place, word) {
  const equals = word.indexOf("=");
  return textOf(place).includes(word) || (equals > 0 && isSet(place, word.slice(0, equals), word.slice(equals + 1)));
}

// Made once for a run.
function textOf(place) {
  list.texts[place] ??= [...COLUMNS.map(([name]) => list.index.columns[name][place]), list.index.columns.reason[place]]
    .filter((value) => value !== null && value !== "").join(" ").toLowerCase();
  return list.texts[place];
}

// A key is given whole, or by its end where no key has that name: `ratio` for `selection.ratio`.
function isSet(place, key, value) {
  const { columns } = list.index;
  if (key === "seed") return String(columns.seed[place]) === value;
  const config = sharedConfig(columns.config[place]);
  const keys = key in config ? [key] : Object.keys(config).filter((name) => name.endsWith(`.${key}`));
  return keys.some((name) => config[name].toLowerCase() === value);
}

// Dotted keys and values of a configuration, without the seed; made once.
function sharedConfig(number) {
  if (!list.configs[number]) {
    const { configs } = list.index;
    const config = {};
    for (const pairs of [configs.common, configs.unlike[number]]) {
      for (let i = 0; i < pairs.length; i += 2) config[configs.keys[pairs[i]]] = configs.values[pairs[i + 1]];
    }
    for (const key of Object.keys(config)) if (config[key] === configs.absent) delete config[key];
    list.configs[number] = config;
  }
  return list.configs[number];
}

function configOf(place) {
  const { columns } = list.index;
  return { seed: String(columns.seed[place]), ...sharedConfig(columns.config[place]) };
}

function showPage() {
  const { order, from } = list;
  const to = Math.min(from + PAGE, order.length);
  const body = document.getElementById("run-list").tBodies[0];
  body.replaceChildren(...order.slice(from, to).map(runRow));
  const total = list.index.columns.signature.length;
  document.getElementById("run-count").textContent =
    order.length === total ? `${total.toLocaleString("en")} runs` : `${order.length.toLocaleString("en")} of ${total.toLocaleString("en")} runs`;
  const go = (text, start, possible) => make("button", { type: "button", disabled: !possible, onclick: () => { list.from = start; showPage(); } }, text);
  const last = Math.max(0, Math.floor((order.length - 1) / PAGE) * PAGE);
  document.getElementById("run-pager").replaceChildren(
    go("First", 0, from > 0), go("Previous", from - PAGE, from > 0),
    make("span", {}, order.length ? `${(from + 1).toLocaleString("en")}–${to.toLocaleString("en")} of ${order.length.toLocaleString("en")}` : "no run matches"),
    go("Next", from + PAGE, to < order.length), go("Last", last, to < order.length),
  );
  showPicked();
}

function runRow(place) {
  const { columns } = list.index;
  const signature = columns.signature[place];
  const box = make("input", {
    type: "checkbox", "aria-label": `compare ${signature}`, onchange: (event) => pick(place, event.target.checked),
  });
  box.checked = list.picked.includes(place);
  const cells = COLUMNS.map(([name, , digits]) => {
    const value = columns[name][place];
    if (name === "method") return heading(make("a", { href: address("run", signature) }, value || "(unknown)"));
    if (name === "signature") return make("td", {}, make("code", {}, value));
    if (name === "apart") return make("td", { class: "apart", title: value }, value);
    if (name === "status") return make("td", { class: value === "failed" || value === "unreadable" ? "bad" : null }, value);
    return make("td", { class: digits === undefined ? null : "number" }, digits ? fixed(value, digits) : shown(value));
  });
  return row(make("td", {}, box), ...cells);
}

// At most two are picked: a third takes the place of the first.
function pick(place, chosen) {
  list.picked = list.picked.filter((other) => other !== place);
  if (chosen) list.picked = [...list.picked, place].slice(-2);
  showPage();
}

function showPicked() {
  const names = list.picked.map((place) => list.index.columns.signature[place]);
  const parts = [];
  if (names.length) {
    parts.push(`chosen: ${list.picked.map(nameOf).join(" and ")} `);
    if (names.length === 2) parts.push(make("a", { href: address("compare", ...names), id: "compare" }, "compare them"));
    else parts.push("(choose another)");
  }
  document.getElementById("picked").replaceChildren(...parts);
}

function nameOf(place) {
  const { columns } = list.index;
  return `${columns.method[place] || columns.signature[place]}, seed ${shown(columns.seed[place])}`;
}

function address(view, ...names) {
  return `#${view}=${names.map(encodeURIComponent).join(",")}`;
}

async function detailsOf(place) {
  const { chunk } = list.index;
  return (await unpack(`data-details-${Math.floor(place / chunk)}`))[place % chunk];
}

// One run: its figures, curves, configuration and log.
const GROUPS = [
  [/(^|_)top1$/, "Top-1 accuracy (%)"], [/(^|_)loss(_|$)/, "Training loss (weighted terms)"], [/(^|_)nll$/, "Negative log-likelihood (nats)"],
  [/(^|_)ece$/, "Expected calibration error (%)"], [/(^|_)agreement$/, "Agreement with the teacher (%)"],
  [/(^|_)inherited_errors$/, "Teacher's mistakes repeated (%)"], [/(_fit|correction)$/, "Training labels: fitted, corrected (%)"],
  [/_share$/, "Share of the training samples (0 to 1)"], [/(^|_)top5$/, "Top-5 accuracy (%)"], [/(^|_)lr$/, "Learning rate"],
  [/images_per_second$/, "Speed (images/s)"], [/seconds$/, "Training time of an epoch (s)"],
];

async function showRun(view, place) {
  const { columns } = list.index;
  const run = await detailsOf(place);
  const title = make("h1", { tabindex: "-1" }, nameOf(place));
  view.replaceChildren(back(), title, ...facts(place, run));
  if (run.error) view.append(make("h2", {}, "Error"), make("pre", { class: "log", id: "error" }, run.error));
  view.append(make("h2", {}, "Figures"), figures(run), make("h2", {}, "Curves"), ...curves(run));
  view.append(make("h2", {}, "Configuration"), ...configuration(place));
  view.append(make("h2", {}, "Log"), ...log(run, columns.signature[place]));
  view.append(make("h2", {}, "Record"), make("details", {}, make("summary", {}, "every figure and fact of the record"), plainTable(run.facts)));
  return title;
}

function back() {
  return make("p", {}, make("a", { href: "#runs", class: "action", id: "back" }, "← all runs"));
}

function facts(place, run) {
  const { columns } = list.index;
  const signature = columns.signature[place];
  const about = [
    ["status", columns.status[place]],
    ["data", [columns.dataset[place], columns.noise[place] && `${columns.noise[place]} label noise`].filter(Boolean).join(", ")],
    ["networks", [columns.teacher[place], columns.student[place]].filter(Boolean).join(" → ")],
    ["told apart by", columns.apart[place]],
    ["time", [columns.started[place] && `started ${columns.started[place]}`, run.facts.finished && `ended ${run.facts.finished.slice(0, 16).replace("T", " ")}`].filter(Boolean).join(", ") + " (UTC)"],
    ["machine", [run.facts["environment.device_name"], run.facts["environment.device"]].filter(Boolean).join(", ")],
    ["commit", run.facts["environment.commit"]],
    ["folder", `runs/${signature}`],
  ].filter(([, value]) => value);
  const choose = make("button", { type: "button", class: "action", onclick: () => { pick(place, true); location.hash = "#runs"; } }, "Compare with another run");
  const siblings = columns.config.map((config, other) => other).filter((other) => other !== place && columns.config[other] === columns.config[place]);
  const links = siblings.slice(0, 20).flatMap((other) => [
    make("a", { href: address("run", columns.signature[other]) }, `seed ${shown(columns.seed[other])}`), " (",
    make("a", { href: address("compare", signature, columns.signature[other]) }, "compare"), ")  ",
  ]);
  return [
    make("dl", { class: "facts" }, ...about.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    siblings.length ? make("p", {}, "Same configuration, other seeds: ", ...links) : "",
    make("p", {}, choose),
  ];
}

// The figures at the last epoch by split, then those at the best epochs.
function figures(run) {
  const of = (name) => run.facts[`metrics.${name}`];
  const splits = ["train", "val", "test"];
  const body = make("tbody");
  for (const peer of ["", "peer_", "mean_"]) {
    for (const [name, title, unit] of NAMES) {
      const values = splits.map((split) => of(`${peer}${split}_${name}_last`));
      if (values.every((value) => value === undefined)) continue;
      const whose = { "": "", peer_: "peer's ", mean_: "mean of both, " }[peer];
      body.append(row(heading(`${whose}${title} (${unit})`), ...values.map((value) => make("td", { class: "number" }, fixed(value, unit === "nats" ? 3 : 2)))));
    }
  }
  for (const [name, title] of [["test_top1_best_val", `top-1 accuracy at the epoch best on val (${shown(of("best_val_epoch"))}) (%)`], ["test_top1_best_test", "top-1 accuracy at the best test epoch, optimistic (%)"]]) {
    if (of(name) !== undefined) body.append(row(heading(title), make("td"), make("td"), make("td", { class: "number" }, fixed(of(name)))));
  }
  if (!body.rows.length) return make("p", {}, "None: the run has not come to its end.");
  const head = make("thead", {}, row(make("th", { scope: "col" }, "at the last epoch"), ...splits.map((split) => make("th", { scope: "col", class: "number" }, split))));
  return make("div", { class: "wide" }, make("table", { id: "figures-of-run" }, head, body));
}

function curves(run) {
  const { history } = run;
  if (!history) return [make("p", {}, "No history was written.")];
  const names = Object.keys(history.columns).filter((name) => name !== "epoch");
  const charts = grouped(names).map(([title, members]) =>
    chart(title, members.map((name) => ({ name, points: points(history, name) }))));
  const kept = history.columns.epoch?.length ?? 0;
  const part = kept < history.of ? `${kept} of ${history.of} epochs; history.csv has all. ` : "";
  return [
    make("p", { class: "muted small" }, `${part}Epochs count from 1.`),
    make("div", { class: "charts", id: "curves" }, ...charts),
    make("details", {}, make("summary", {}, "the curves as numbers"), numbersTable(history)),
  ];
}

// [title, columns] of each chart, in the order of GROUPS; a column of no group has a chart of its own.
function grouped(names) {
  const groups = new Map(GROUPS.map(([, title]) => [title, []]));
  for (const name of names) {
    const title = GROUPS.find(([pattern]) => pattern.test(name))?.[1] ?? name;
    groups.set(title, [...(groups.get(title) ?? []), name]);
  }
  return [...groups].filter(([, members]) => members.length);
}

function points(history, name) {
  const values = history.columns[name] ?? [];
  return values.map((value, i) => [(history.columns.epoch?.[i] ?? i) + 1, value]).filter(([, value]) => typeof value === "number");
}

function numbersTable(history) {
  const names = Object.keys(history.columns);
  const head = make("thead", {}, row(...names.map((name) => make("th", { scope: "col", class: "number" }, name))));
  const lines = history.columns[names[0]].map((_, i) => row(...names.map((name) => {
    const value = history.columns[name][i];
    return make("td", { class: "number" }, shown(name === "epoch" && typeof value === "number" ? value + 1 : value));
  })));
  return make("div", { class: "wide" }, make("table", {}, head, make("tbody", {}, ...lines)));
}

// One table a group; what few other runs of this page have is marked.
function configuration(place) {
  const { configs, columns } = list.index;
  const rare = new Set();
  const unlike = configs.unlike[columns.config[place]];
  for (let i = 0; i < unlike.length; i += 2) rare.add(configs.keys[unlike[i]]);
  const tables = new Map();
  for (const [key, value] of Object.entries(configOf(place))) {
    const group = key.split(".")[0];
    if (!tables.has(group)) tables.set(group, make("table", {}, make("caption", {}, group)));
    tables.get(group).append(make("tr", { class: rare.has(key) ? "unlike" : null }, heading(key), make("td", {}, value)));
  }
  return [
    make("p", { class: "muted small" }, "≠ marks what differs from the most frequent value in this report."),
    make("div", { class: "columns", id: "configuration" }, ...tables.values()),
  ];
}

function log(run, signature) {
  const where = make("p", { class: "muted small" }, `The whole log: runs/${signature}/run.log below the results folder.`);
  if (!run.log) return [make("p", {}, "No log was written.")];
  return [where, make("pre", { class: "log", id: "log", tabindex: "0" }, run.log.text || "(empty)")];
}

function plainTable(content) {
  const lines = Object.entries(content).map(([key, value]) => row(heading(key), make("td", {}, shown(value))));
  return make("table", {}, make("tbody", {}, ...lines));
}

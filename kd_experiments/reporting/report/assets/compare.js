// Two runs side by side: configuration, figures and curves.
async function showComparison(view, first, second) {
  const places = [first, second];
  const runs = await Promise.all(places.map(detailsOf));
  const names = uniqueNames(places);
  const title = make("h1", { tabindex: "-1" }, `${names[0]} and ${names[1]}`);
  const links = places.map((place, i) => make("a", { href: address("run", list.index.columns.signature[place]) }, `${"AB"[i]}: ${names[i]}`));
  view.replaceChildren(
    back(), title, make("p", {}, links[0], "   ", links[1]),
    make("p", { class: "muted" }, "Two single runs differ by chance too; the tables say which differences hold over seeds."),
    make("h2", {}, "Configuration"), ...configurations(places.map(configOf)),
    make("h2", {}, "Figures at the end"), bothFigures(runs),
    make("h2", {}, "Curves"), bothCurves(runs, names),
  );
  return title;
}

function uniqueNames(places) {
  const names = places.map(nameOf);
  return names[0] === names[1] ? places.map((place) => `${nameOf(place)} (${list.index.columns.signature[place]})`) : names;
}

function heads(...titles) {
  return make("thead", {}, row(...titles.map((title) => make("th", { scope: "col" }, title))));
}

function configurations([a, b]) {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  const unlike = keys.filter((key) => a[key] !== b[key]);
  const body = make("tbody");
  const rows = keys.map((key) => make("tr", { class: a[key] === b[key] ? "same" : "unlike" },
    heading(key), ...[a, b].map((config) => make("td", {}, config[key] ?? "(not set)"))));
  const all = make("input", { type: "checkbox", id: "show-equal" });
  const refresh = () => body.replaceChildren(...rows.filter((line) => all.checked || line.className === "unlike"));
  all.addEventListener("change", refresh);
  refresh();
  return [
    make("p", {}, unlike.length ? `${unlike.length} of ${keys.length} keys differ.` : `All ${keys.length} keys are equal.`, " ",
      make("label", {}, all, " show equal keys too")),
    make("div", { class: "wide" }, make("table", { id: "differences" }, heads("key", "A", "B"), body)),
  ];
}

function bothFigures(runs) {
  const kinds = ["metrics.test_", "metrics.val_", "metrics.train_", "metrics.", "timing."];
  const kind = (key) => kinds.findIndex((start) => key.startsWith(start));
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.facts)))].filter((key) => kind(key) >= 0).sort((a, b) => kind(a) - kind(b));
  const lines = keys.map((key) => {
    const [a, b] = runs.map((run) => run.facts[key]);
    const gap = typeof a === "number" && typeof b === "number" ? signed(b - a) : NOTHING;
    return row(heading(`${key}${unitOf(key)}`), ...[shown(a), shown(b), gap].map((text) => make("td", { class: "number" }, text)));
  });
  return make("div", { class: "wide" }, make("table", {}, heads("figure", "A", "B", "B − A"), make("tbody", {}, ...lines)));
}

function unitOf(key) {
  const name = NAMES.find(([end]) => new RegExp(`_${end}(_|$)`).test(key));
  if (name) return ` (${name[2]})`;
  if (/seconds$/.test(key) && !/per_second/.test(key)) return " (s)";
  return /bytes$/.test(key) ? " (bytes)" : "";
}

function bothCurves(runs, names) {
  const columns = [...new Set(runs.flatMap((run) => Object.keys(run.history?.columns ?? {})))].filter((name) => name !== "epoch");
  if (!columns.length) return make("p", {}, "Neither has a history.");
  const charts = (some) => make("div", { class: "charts" }, ...grouped(some).flatMap(([title, members]) => members.map((name) =>
    chart(members.length > 1 ? `${title}: ${name}` : title,
      runs.map((run, i) => ({ name: `${"AB"[i]}: ${names[i]}`, points: run.history ? points(run.history, name) : [] }))))));
  const both = columns.filter((name) => runs.every((run) => run.history && name in run.history.columns));
  const single = columns.filter((name) => !both.includes(name));
  const rest = make("details", {}, make("summary", {}, `${single.length} curves that only one of them has`), charts(single));
  return make("div", {}, charts(both), single.length ? rest : null);
}

// The address after # says what is shown: the report, #run=NAME or #compare=NAME,NAME; going back returns to the same place.
const report = document.getElementById("report");
const view = document.getElementById("view");
const title = document.title;
let left = null; // where the reader was in the report
let reached = location.hash;

function placeOf(name) {
  const place = list.index?.columns.signature.indexOf(name) ?? -1;
  if (place < 0) throw new Error(`no run ${name} in this report`);
  return place;
}

async function route() {
  const [, kind, names] = /^#(run|compare)=(.*)$/.exec(location.hash) ?? [];
  complain("");
  if (!kind) {
    reached = location.hash;
    return showReport();
  }
  if (!report.hidden) left = { hash: reached, scroll: scrollY, focus: document.activeElement };
  try {
    const places = names.split(",").map((name) => placeOf(decodeURIComponent(name)));
    if (places.length !== { run: 1, compare: 2 }[kind]) throw new Error(`${location.hash}: not an address of this report`);
    const heading = kind === "run" ? await showRun(view, places[0]) : await showComparison(view, ...places);
    report.hidden = true;
    view.hidden = false;
    document.title = `${heading.textContent} – ${title}`;
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  } catch (error) {
    complain(error.message);
    showReport();
  }
}

function showReport() {
  const returning = report.hidden;
  report.hidden = false;
  view.hidden = true;
  view.replaceChildren();
  document.title = title;
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (returning && left?.hash === location.hash) {
    scrollTo(0, left.scroll);
    left.focus?.focus?.({ preventScroll: true });
  } else if (target) {
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  }
}

function complain(text) {
  const place = document.getElementById("complaint");
  place.textContent = text;
  place.hidden = !text;
}

history.scrollRestoration = "manual";
startTables();
showFigures().catch((error) => complain(error.message));
startRuns().then(() => {
  addEventListener("hashchange", route);
  return route();
}).catch((error) => complain(error.message));

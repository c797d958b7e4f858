// Figures as text, and what the figures of a record and a history are called.
const NOTHING = "–";
const NAMES = [
  // [end of the name, what it is, unit]
  ["top1", "top-1 accuracy", "%"],
  ["top5", "top-5 accuracy", "%"],
  ["nll", "negative log-likelihood", "nats"],
  ["ece", "expected calibration error", "%"],
  ["agreement", "agreement with the teacher", "%"],
  ["inherited_errors", "teacher's mistakes repeated", "%"],
];

function shown(value) {
  if (value === null || value === undefined || value === "") return NOTHING;
  if (typeof value !== "number") return Array.isArray(value) ? JSON.stringify(value) : String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 10000 ? minus(String(value)) : minus(value.toLocaleString("en"));
  return minus(Math.abs(value) >= 0.001 ? String(Number(value.toPrecision(5))) : value.toExponential(2));
}

function fixed(value, digits = 2) {
  return typeof value === "number" ? minus(value.toFixed(digits)) : shown(value);
}

function signed(value) {
  return (value > 0 ? "+" : "") + shown(Number(value.toPrecision(4)));
}

function minus(text) {
  return text.replace("-", "−");
}

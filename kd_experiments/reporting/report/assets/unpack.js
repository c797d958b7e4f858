// Opens the packed JSON that stands in the page: base64, gzip.
const opened = new Map();

function unpack(id) {
  if (!opened.has(id)) opened.set(id, open(id));
  return opened.get(id);
}

async function open(id) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot open the packed runs; any from 2023 on can (Chrome 80, Firefox 113, Safari 16.4)");
  }
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// The drawings among the figures, which stand packed in the page.
async function showFigures() {
  if (!document.getElementById("data-figures")) return;
  const drawings = await unpack("data-figures");
  for (const image of document.querySelectorAll("img[data-drawing]")) {
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawings[image.dataset.drawing])}`;
  }
}

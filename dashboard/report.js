
// Draws each chart when it comes into sight, in the screen's width and colours, over the picture that stands in its place.
(() => {
  const book = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();

  function rows({n, columns}) {
    const parts = Object.entries(columns).map(([name, place]) => [name, book.columns[place]]);
    const value = (column, i) => column[column.length === 1 ? 0 : i];
    return Array.from({length: n}, (_, i) => Object.fromEntries(parts.map(([name, column]) => [name, value(column, i)])));
  }

  function place(plot) {
    const box = document.createElement("div");
    box.className = "live";
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", plot.querySelector("img").alt);
    return plot.appendChild(box);
  }

  async function draw(plot) {
    const scheme = dark.matches ? "dark" : "light";
    const {tables, ...spec} = book.charts[plot.dataset.chart];
    const datasets = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rows(table)]));
    const box = plot.querySelector(".live") ?? place(plot);
    drawn.get(plot)?.finalize();
    const options = {mode: "vega-lite", ast: true, actions: false, tooltip: {theme: scheme}};
    drawn.set(plot, await vegaEmbed(box, {...spec, ...book.looks[scheme], datasets}, options));
    plot.classList.add("drawn");
  }

  const sight = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) {
      if (isIntersecting) {
        sight.unobserve(target);
        draw(target);
      }
    }
  }, {rootMargin: "800px"});
  for (const plot of document.querySelectorAll(".plot")) sight.observe(plot);
  dark.addEventListener("change", () => drawn.forEach((_, plot) => draw(plot)));
  document.documentElement.classList.add("scripted");
})();

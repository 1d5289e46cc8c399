// Draws a map of runs and reports what hands do with it. Each update patches the same elements.

const HINT =
  "Arrow keys move from cell to cell, with Ctrl ten at a time, Home and End to the ends of a row. Enter opens a run. " +
  "Shift and arrow keys draw a rectangle, Enter then reports it, Escape takes it away.";
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const CLICK_SLACK = 4; // pixels a pointer may move during a click
const FADED = 0.13; // share of its colour that a filtered cell keeps
const maps = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, new RunMap(parentElement));
  const map = maps.get(parentElement);
  map.report = setTriggerValue;
  if (data) map.update(unpacked(data));
}

function unpacked(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const cells = head.nx * head.ny;
  let at = 4 + length;
  const take = (n) => bytes.slice(at, (at += n));
  for (const facet of head.facets) {
    facet.colors = take(cells);
    facet.region = facet.region ? take(Math.ceil(cells / 8)) : null; // eight cells in a byte
    facet.values = facet.values.map((name) => [name, new Float32Array(take(4 * cells).buffer)]);
  }
  return head;
}

function make(tag, parent, look = "", text = "") {
  const element = parent.appendChild(document.createElement(tag));
  if (look) element.className = look;
  if (text) element.textContent = text;
  return element;
}

function written(value) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return String(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

class RunMap {
  constructor(parent) {
    this.root = make("div", parent, "map");
    this.legend = make("div", this.root, "legend");
    this.legend.setAttribute("role", "group");
    this.legend.setAttribute("aria-label", "Legend: choose what is shown");
    this.grid = make("div", this.root, "planes");
    this.tip = make("div", this.root, "tip");
    this.tip.hidden = true;
    this.hint = make("div", this.root, "unseen", HINT);
    this.hint.id = "hint";
    this.live = make("div", this.root, "unseen");
    this.live.setAttribute("aria-live", "polite");
    this.planes = [];
    this.shown = new Set(); // names of the legend's entries that are not faded; none means all
  }

  update(data) {
    const before = this.data;
    this.data = data;
    while (this.planes.length > data.facets.length) this.planes.pop().figure.remove();
    while (this.planes.length < data.facets.length) this.planes.push(new Plane(this, this.planes.length));
    for (const plane of this.planes) {
      plane.facet = data.facets[plane.index];
      if (before && before.view !== data.view) plane.forget();
      else if (before && (before.nx !== data.nx || before.ny !== data.ny)) plane.rescale(before);
    }
    this.draw();
  }

  draw() {
    this.style = this.themed();
    this.colors = this.palette();
    this.total = new Uint32Array(256);
    for (const plane of this.planes) plane.paint();
    this.label();
    for (const plane of this.planes) plane.draw();
    this.tell();
  }

  themed() {
    const own = getComputedStyle(this.root);
    const pen = document.createElement("canvas").getContext("2d");
    const read = (name) => {
      pen.fillStyle = own.getPropertyValue(name).trim() || "#808080";
      return pen.fillStyle;
    };
    return {
      font: own.fontFamily,
      text: read("--st-text-color"),
      quiet: read("--st-gray-text-color"),
      line: read("--st-border-color"),
      paper: read("--st-background-color"),
      accent: read("--st-primary-color"),
    };
  }

  // Entries of this legend that are shown alone; none means all.
  chosen() {
    return this.data.legend.entries.filter((entry) => this.shown.has(entry.name));
  }

  palette() {
    const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const paper = channels(this.style.paper);
    const chosen = this.chosen().map((entry) => entry.index);
    return Uint32Array.from([0, ...this.data.legend.colors.map(channels)], (color, index) => {
      if (!index) return 0;
      const share = !chosen.length || chosen.includes(index) ? 1 : FADED;
      const [red, green, blue] = color.map((part, i) => Math.round(part * share + paper[i] * (1 - share)));
      return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
  }

  label() {
    const { legend, facets } = this.data;
    const marks = [...new Map(facets.flatMap((facet) => facet.marks).map((mark) => [mark.label, mark.symbol]))];
    const drawn = JSON.stringify([legend, marks]);
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      this.build(legend, marks);
    }
    const chosen = this.chosen();
    this.legend.classList.toggle("filtered", chosen.length > 0);
    for (const { button, number, entry } of this.entries) {
      number.textContent = this.total[entry.index].toLocaleString("en");
      button.setAttribute("aria-pressed", this.shown.has(entry.name));
      const idle = legend.bar && !this.total[entry.index] && !this.shown.has(entry.name);
      button.style.display = idle ? "none" : "";
    }
    this.all.style.display = chosen.length ? "" : "none";
    this.missing.textContent = this.total[0].toLocaleString("en");
    this.missing.parentElement.style.display = this.total[0] ? "" : "none";
  }

  build(legend, marks) {
    const focused = this.legend.getRootNode().activeElement?.dataset.name;
    this.legend.replaceChildren();
    if (legend.bar) this.bar(legend);
    this.entries = legend.entries.map((entry) => {
      const button = make("button", this.legend, "entry");
      button.type = "button";
      button.dataset.name = entry.name;
      make("span", button, "swatch").style.background = entry.color;
      make("span", button, "", `${entry.symbol} ${entry.name}`.trim());
      const number = make("span", button, "number");
      button.addEventListener("click", () => {
        this.shown.delete(entry.name) || this.shown.add(entry.name);
        if (this.chosen().length === this.data.legend.entries.length && !legend.bar) this.shown.clear();
        this.draw();
      });
      return { button, number, entry };
    });
    this.entries.find(({ entry }) => entry.name === focused)?.button.focus();
    this.all = make("button", this.legend, "all", "show all");
    this.all.type = "button";
    this.all.addEventListener("click", () => {
      this.entries[0].button.focus();
      this.shown.clear();
      this.draw();
    });
    const missing = make("span", this.legend, "note");
    make("span", missing, "swatch none");
    make("span", missing, "", "not trained");
    this.missing = make("span", missing, "number");
    for (const [label, symbol] of marks) make("span", this.legend, "note", `${symbol || "▢"} ${label}`);
  }

  bar(legend) {
    const bar = make("div", this.legend, "bar");
    make("div", bar, "", legend.bar.title);
    const colors = legend.colors.slice(0, -1).filter((_, i) => i % 11 === 0); // 253 is a multiple of 11
    make("div", bar, "shade").style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
    const ticks = make("div", bar, "ticks");
    for (const [place, text] of legend.bar.ticks) make("span", ticks, "", text).style.left = `${100 * place}%`;
  }

  // Takes the rectangle away, on whichever plane it lies.
  clear() {
    const plane = this.planes.find((p) => p.brush);
    if (!plane) return;
    plane.brush = plane.anchor = null;
    plane.show();
    this.report("brush", { facet: plane.index, view: this.data.view });
  }

  // Says what the cell under the pointer, or else the focused one, holds.
  tell() {
    const plane = this.planes.find((p) => p.hovered()) ?? this.planes.find((p) => p.focusShown());
    const cell = plane && !plane.drag?.moved ? plane.hovered() ?? plane.focus : null;
    this.tip.hidden = !cell;
    if (!cell) return;
    const { head, color, rows } = plane.told(cell);
    const title = document.createElement("div");
    title.className = "head";
    make("span", title, color ? "swatch" : "swatch none").style.background = color;
    make("span", title, "", head);
    const list = document.createElement("dl");
    for (const [name, value] of rows) {
      make("dt", list, "", name);
      make("dd", list, "", value);
    }
    this.tip.replaceChildren(title, list);
    const root = this.root.getBoundingClientRect();
    const canvas = plane.over.getBoundingClientRect();
    const box = plane.box(cell.x, cell.y, cell.x + 1, cell.y + 1);
    const left = canvas.left - root.left + box.x;
    const width = this.tip.offsetWidth;
    const right = left + box.width + 12;
    const side = right + width <= root.width ? right : left - width - 12;
    const top = canvas.top - root.top + box.y + box.height / 2 - this.tip.offsetHeight / 2;
    this.tip.style.left = `${clamp(side, 0, Math.max(0, root.width - width))}px`;
    this.tip.style.top = `${clamp(top, 0, Math.max(0, root.height - this.tip.offsetHeight))}px`;
  }
}

class Plane {
  constructor(map, index) {
    this.map = map;
    this.index = index;
    this.figure = make("figure", map.grid);
    this.title = make("figcaption", this.figure);
    this.plot = make("div", this.figure, "plot");
    this.base = make("canvas", this.plot);
    this.over = make("canvas", this.plot, "hands");
    this.image = document.createElement("canvas");
    this.over.tabIndex = 0;
    this.over.setAttribute("role", "application");
    this.over.setAttribute("aria-roledescription", "map");
    this.over.setAttribute("aria-describedby", "hint");
    for (const [event, act] of Object.entries({
      pointerdown: (e) => this.down(e),
      pointermove: (e) => this.move(e),
      pointerup: (e) => this.up(e),
      pointercancel: () => this.cancel(),
      pointerleave: () => this.leave(),
      keydown: (e) => this.press(e),
      focus: () => this.enter(),
      blur: () => this.leave(),
    }))
      this.over.addEventListener(event, act);
    new ResizeObserver(() => this.area && this.draw()).observe(this.plot);
  }

  forget() {
    this.focus = this.brush = this.drag = this.anchor = null;
  }

  // Keeps focus and rectangle where they lie on the plane when its cells become finer or coarser.
  rescale({ nx, ny }) {
    const { data } = this.map;
    const over = (cell) => ({
      x: clamp(Math.floor(((cell.x + 0.5) / nx) * data.nx), 0, data.nx - 1),
      y: clamp(Math.floor(((cell.y + 0.5) / ny) * data.ny), 0, data.ny - 1),
    });
    if (this.focus) this.focus = over(this.focus);
    if (this.anchor) this.anchor = over(this.anchor);
    if (this.drag) Object.assign(this.drag, { from: over(this.drag.from), cell: over(this.drag.cell) });
    if (!this.brush) return;
    const { x0, x1, y0, y1 } = this.brush;
    const across = (x) => (x / nx) * data.nx;
    const down = (y) => (y / ny) * data.ny;
    this.brush = {
      x0: Math.floor(across(x0) + 1e-9),
      x1: Math.ceil(across(x1) - 1e-9),
      y0: Math.floor(down(y0) + 1e-9),
      y1: Math.ceil(down(y1) - 1e-9),
    };
  }

  // Colours one pixel for each cell and finds the region's edge.
  paint() {
    const { nx, ny } = this.map.data;
    const { colors } = this.map;
    const { facet } = this;
    if (this.image.width !== nx || this.image.height !== ny) Object.assign(this.image, { width: nx, height: ny });
    const pixels = new ImageData(nx, ny);
    const words = new Uint32Array(pixels.data.buffer);
    for (let y = 0, cell = 0; y < ny; y++)
      for (let x = 0, pixel = (ny - 1 - y) * nx; x < nx; x++, cell++, pixel++) {
        words[pixel] = colors[facet.colors[cell]] ?? 0;
        this.map.total[facet.colors[cell]]++;
      }
    this.image.getContext("2d").putImageData(pixels, 0, 0);
    if (this.edged !== facet) this.edges = facet.region ? this.edge(facet, nx, ny) : [];
    this.edged = facet;
  }

  // Lines between trained cells of which one lies in the region: [x0, y0, x1, y1] in cells, joined where they go straight on.
  edge({ region, colors }, nx, ny) {
    const inside = (cell) => (region[cell >> 3] >> (7 - (cell & 7))) & 1;
    const differ = (one, other) => inside(one) !== inside(other) && colors[one] && colors[other];
    const found = [];
    const scan = (lanes, length, pair, line) => {
      for (let lane = 1; lane < lanes; lane++)
        for (let start = -1, i = 0; i <= length; i++) {
          const edge = i < length && differ(...pair(lane, i));
          if (edge && start < 0) start = i;
          if (!edge && start >= 0) {
            found.push(line(lane, start, i));
            start = -1;
          }
        }
    };
    scan(nx, ny, (x, y) => [y * nx + x - 1, y * nx + x], (x, y0, y1) => [x, y0, x, y1]);
    scan(ny, nx, (y, x) => [(y - 1) * nx + x, y * nx + x], (y, x0, x1) => [x0, y, x1, y]);
    return found;
  }

  draw() {
    const { data, style } = this.map;
    if (this.title.textContent !== this.facet.title) this.title.textContent = this.facet.title;
    this.over.setAttribute("aria-label", [data.label, this.facet.title].filter(Boolean).join(", "));
    this.plot.style.height = `${data.height}px`;
    const pen = this.pen(this.base);
    pen.clearRect(0, 0, this.width, this.height);
    this.axes(pen);
    const { left, top, width, height } = this.area;
    pen.fillStyle = this.hatch(pen);
    pen.fillRect(left, top, width, height);
    pen.imageSmoothingEnabled = width * this.ratio < data.nx || height * this.ratio < data.ny;
    pen.drawImage(this.image, left, top, width, height);
    this.lines(pen, this.edges);
    pen.strokeStyle = style.line;
    pen.lineWidth = 1;
    pen.strokeRect(left - 0.5, top - 0.5, width + 1, height + 1);
    for (const mark of this.facet.marks) this.mark(pen, mark);
    this.show();
  }

  pen(canvas) {
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.plot.clientWidth;
    this.height = this.plot.clientHeight;
    const size = { width: Math.round(this.width * this.ratio), height: Math.round(this.height * this.ratio) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    const pen = canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    return pen;
  }

  hatch(pen) {
    const tile = document.createElement("canvas");
    const size = (tile.width = tile.height = Math.round(6 * this.ratio));
    const brush = tile.getContext("2d");
    brush.strokeStyle = this.map.style.line;
    brush.lineWidth = this.ratio;
    for (const shift of [-size, 0, size]) {
      brush.moveTo(shift - 1, size + 1);
      brush.lineTo(shift + size + 1, -1);
    }
    brush.stroke();
    const pattern = pen.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix([1 / this.ratio, 0, 0, 1 / this.ratio, 0, 0]));
    return pattern;
  }

  axes(pen) {
    const { x, y } = this.map.data;
    const { style } = this.map;
    const words = `12px ${style.font}`;
    pen.font = words;
    const widest = Math.max(0, ...y.ticks.map(([, text]) => pen.measureText(text).width));
    const left = Math.round(Math.min(widest, this.width / 3) + 9 + (y.title ? 20 : 0));
    const bottom = this.height - (x.title ? 42 : 22);
    this.area = { left, top: 7, width: Math.max(20, Math.round(this.width - left - 14)), height: bottom - 7 };
    this.over.dataset.area = JSON.stringify(this.area);
    const { top, width, height } = this.area;
    pen.fillStyle = style.quiet;
    pen.strokeStyle = style.line;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const [place, text] of this.apart(y.ticks, height, () => 14)) {
      const at = Math.round(bottom - place * height);
      pen.fillText(text, left - 8, at, this.width / 3);
      this.tick(pen, left - 5, at + 0.5, left - 1, at + 0.5);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const [place, text] of this.apart(x.ticks, width, (label) => pen.measureText(label).width + 10)) {
      const at = Math.round(left + place * width);
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, clamp(at, half, this.width - half), bottom + 7);
      this.tick(pen, at + 0.5, bottom + 1, at + 0.5, bottom + 5);
    }
    pen.fillStyle = style.text;
    pen.font = `13px ${style.font}`;
    pen.fillText(x.title, left + width / 2, this.height - 15, width);
    pen.save();
    pen.translate(1, top + height / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(y.title, 0, 0, height);
    pen.restore();
  }

  tick(pen, ...[x0, y0, x1, y1]) {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  }

  // Every tick, or every second, third ..., so that no label touches the next.
  apart(ticks, length, size) {
    for (let every = 1; ; every++) {
      const kept = ticks.filter((_, i) => i % every === 0);
      const free = ([a, one], [b, other]) => (b - a) * length >= (size(one) + size(other)) / 2;
      if (kept.every((tick, i) => !i || free(kept[i - 1], tick))) return kept;
    }
  }

  box(x0, y0, x1, y1) {
    const { left, top, width, height } = this.area;
    const { nx, ny } = this.map.data;
    const across = (x) => left + (x / nx) * width;
    const down = (y) => top + height - (y / ny) * height;
    return { x: across(x0), y: down(y1), width: across(x1) - across(x0), height: down(y0) - down(y1) };
  }

  // Light on dark or dark on light, whatever lies below.
  lines(pen, segments) {
    if (!segments.length) return;
    const path = new Path2D();
    for (const [x0, y0, x1, y1] of segments) {
      const { x, y, width, height } = this.box(x0, y0, x1, y1);
      path.moveTo(x, y + height);
      path.lineTo(x + width, y);
    }
    const cell = Math.min(this.area.width / this.map.data.nx, this.area.height / this.map.data.ny);
    const width = clamp(cell / 4, 0.5, 1.25); // thinner where it would hide the cells
    this.twice(pen, width, () => pen.stroke(path), this.map.style.text, 1.2 * width);
  }

  twice(pen, width, stroke, front = this.map.style.text, halo = 1.5) {
    pen.lineJoin = pen.lineCap = "round";
    for (const [color, wide] of [[this.map.style.paper, width + halo], [front, width]]) {
      pen.strokeStyle = color;
      pen.lineWidth = wide;
      stroke();
    }
  }

  frame(pen, box, width = 1.5, least = 0, front = undefined) {
    const grow = (size) => Math.max(0, (least - size) / 2);
    const [dx, dy] = [grow(box.width), grow(box.height)];
    const rest = [box.x - dx, box.y - dy, box.width + 2 * dx, box.height + 2 * dy];
    this.twice(pen, width, () => pen.strokeRect(...rest), front);
  }

  mark(pen, { x, y, symbol }) {
    const box = this.box(x, y, x + 1, y + 1);
    if (!symbol) return this.frame(pen, box, 2, 9);
    pen.font = `16px ${this.map.style.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.strokeStyle = this.map.style.paper;
    pen.lineWidth = 3.5;
    pen.strokeText(symbol, box.x + box.width / 2, box.y + box.height / 2 + 1);
    pen.fillStyle = this.map.style.text;
    pen.fillText(symbol, box.x + box.width / 2, box.y + box.height / 2 + 1);
  }

  // Draws what follows the hand: rectangle, hovered and focused cell.
  show() {
    if (!this.area) return;
    const pen = this.pen(this.over);
    pen.clearRect(0, 0, this.width, this.height);
    const { style } = this.map;
    const part = this.drag?.moved ? this.span(this.drag.from, this.drag.cell) : this.brush;
    if (part) {
      const box = this.box(part.x0, part.y0, part.x1, part.y1);
      const { left, top, width, height } = this.area;
      pen.fillStyle = style.paper;
      pen.globalAlpha = 0.45;
      pen.beginPath();
      pen.rect(left, top, width, height);
      pen.rect(box.x, box.y, box.width, box.height);
      pen.fill("evenodd");
      pen.globalAlpha = 1;
      this.frame(pen, box);
    }
    const cell = this.drag?.moved ? null : this.hovered();
    if (cell) this.frame(pen, this.box(cell.x, cell.y, cell.x + 1, cell.y + 1), 1, 5);
    if (this.focusShown()) {
      const { x, y } = this.focus;
      const box = this.box(x, y, x + 1, y + 1); // its ring is wider than a small cell
      this.frame(pen, box, 3, 12, style.accent);
    }
    this.over.style.cursor = this.within(this.pointer) || this.drag ? "crosshair" : "default";
    this.map.tell();
  }

  within(at) {
    const { left, top, width, height } = this.area;
    return Boolean(at) && at.x >= left && at.x < left + width && at.y >= top && at.y < top + height;
  }

  // The cell at a place, or the nearest one.
  cell(at) {
    const { left, top, width, height } = this.area;
    const { nx, ny } = this.map.data;
    return {
      x: clamp(Math.floor(((at.x - left) / width) * nx), 0, nx - 1),
      y: clamp(Math.floor(((top + height - at.y) / height) * ny), 0, ny - 1),
    };
  }

  hovered() {
    return this.area && this.within(this.pointer) ? this.cell(this.pointer) : null;
  }

  focusShown() {
    return Boolean(this.focus && this.keys);
  }

  span(one, other) {
    const [x0, x1] = [Math.min(one.x, other.x), Math.max(one.x, other.x) + 1];
    const [y0, y1] = [Math.min(one.y, other.y), Math.max(one.y, other.y) + 1];
    return { x0, x1, y0, y1 };
  }

  told({ x, y }) {
    const { data } = this.map;
    const at = y * data.nx + x;
    const index = this.facet.colors[at];
    const entry = data.legend.entries.find((one) => one.index === index);
    const marks = this.facet.marks.filter((mark) => mark.x === x && mark.y === y);
    const named = (one) => `${one.symbol} ${one.label ?? one.name}`.trim();
    const values = index ? this.facet.values.map(([name, numbers]) => [name, written(numbers[at])]) : [];
    const metric = data.legend.bar?.title;
    const first = values.find(([name]) => name === metric) ?? [metric];
    const head = [!index ? "not trained yet" : entry ? named(entry) : first.join(" "), ...marks.map(named)].join(", ");
    const rest = values.filter((row) => row !== first);
    const rows = [[data.x.title, data.x.words[x]], [data.y.title, data.y.words[y]], ...rest];
    return { head, rows, color: data.legend.colors[index - 1] ?? "" };
  }

  place(event) {
    const canvas = this.over.getBoundingClientRect();
    return { x: event.clientX - canvas.left, y: event.clientY - canvas.top };
  }

  down(event) {
    const at = this.place(event);
    if (event.button || !event.isPrimary || !this.within(at)) return;
    const cell = this.cell(at);
    this.drag = { at, from: cell, cell, far: false, moved: false };
    this.keys = false;
    if (event.pointerType !== "touch") this.over.setPointerCapture(event.pointerId);
  }

  move(event) {
    const at = this.place(event);
    this.pointer = event.pointerType === "touch" ? null : at;
    if (this.drag) {
      this.drag.far ||= Math.hypot(at.x - this.drag.at.x, at.y - this.drag.at.y) >= CLICK_SLACK;
      this.drag.moved = this.drag.far && event.pointerType !== "touch";
      this.drag.cell = this.cell(at);
    }
    this.show();
  }

  up() {
    const { drag } = this;
    this.drag = null;
    if (drag?.moved) this.sweep(this.span(drag.from, drag.cell));
    else if (drag && !drag.far) this.open(drag.from);
    this.show();
  }

  cancel() {
    this.drag = null;
    this.show();
  }

  enter() {
    this.keys = this.over.matches(":focus-visible");
    if (this.keys) this.focus ??= this.start();
    this.show();
  }

  leave() {
    this.pointer = null;
    this.keys &&= this.over.matches(":focus");
    this.show();
  }

  report(name, value) {
    const { nx, ny, view } = this.map.data;
    this.map.report(name, { facet: this.index, ...value, nx, ny, view });
  }

  open(cell) {
    this.focus = cell;
    this.report("click", cell);
  }

  sweep(part) {
    for (const plane of this.map.planes) plane.brush = plane.anchor = null;
    this.brush = part;
    for (const plane of this.map.planes) plane.show();
    this.report("brush", part);
  }

  press(event) {
    const { nx, ny } = this.map.data;
    const was = this.focus ?? this.start();
    let to = null;
    if (event.key in STEPS) {
      const [dx, dy] = STEPS[event.key].map((step) => step * (event.ctrlKey ? 10 : 1));
      to = this.focus ? { x: clamp(was.x + dx, 0, nx - 1), y: clamp(was.y + dy, 0, ny - 1) } : was;
    } else if (event.key === "Home" || event.key === "End") to = { x: event.key === "Home" ? 0 : nx - 1, y: was.y };
    else if (event.key === "Enter" || event.key === " ") {
      if (this.anchor) this.sweep(this.span(this.anchor, was));
      else if (this.focus) this.open(was);
    } else if (event.key === "Escape") {
      if (!this.drag) this.map.clear();
      this.drag = null;
    } else return;
    event.preventDefault();
    if (to) {
      if (this.anchor && !event.shiftKey) this.brush = null;
      this.anchor = event.shiftKey ? this.anchor ?? was : null;
      this.focus = to;
      if (this.anchor) this.brush = this.span(this.anchor, to);
      this.pointer = null;
      this.keys = true;
      const { head, rows } = this.told(to);
      this.map.live.textContent = [head, ...rows.map((row) => row.join(" "))].join(", ");
    }
    this.show();
  }

  // Where the focus begins: at a cell that is pointed out, or in the middle.
  start() {
    const mark = this.facet.marks.at(-1);
    const { nx, ny } = this.map.data;
    return mark ? { x: mark.x, y: mark.y } : { x: nx >> 1, y: ny >> 1 };
  }
}

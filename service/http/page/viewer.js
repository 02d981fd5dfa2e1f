// Images for the eye: 16-bit grey on a canvas through a window, with zoom and pan that several panes can share.

const WHITE = 65535;
const LEAST_WIDTH = 0.005;
const MOST_ZOOM = 24;
const FIT = { zoom: 1, x: 0.5, y: 0.5 };
const FULL = { centre: 0.5, width: 1, invert: false };
const between = (least, value, most) => Math.min(most, Math.max(least, value));

/** How images are looked at: zoom (1 fits), the point in the middle, level and width of the window, inversion. */
export class Sight extends EventTarget {
  constructor(values = {}) {
    super();
    this.values = { ...FIT, ...FULL, ...values };
  }

  /** Look differently, within what makes sense; every pane that looks this way is drawn again. */
  set(changes) {
    const next = { ...this.values, ...changes };
    next.zoom = between(1, next.zoom, MOST_ZOOM);
    next.x = between(0, next.x, 1);
    next.y = between(0, next.y, 1);
    next.width = between(LEAST_WIDTH, next.width, 2);
    next.centre = between(-0.5, next.centre, 1.5);
    this.values = next;
    this.dispatchEvent(new Event("change"));
  }

  /** As at first: the whole image with the whole range of grey. */
  reset() {
    this.set({ ...FIT, ...FULL });
  }
}

/** 65536 opaque greys as the canvas takes them: white at the upper end of the window, or black where inverted. */
function table({ centre, width, invert }) {
  const colours = new Uint32Array(WHITE + 1);
  const low = centre - width / 2;
  for (let grey = 0; grey <= WHITE; grey++) {
    const light = Math.round(255 * between(0, (grey / WHITE - low) / width, 1));
    const shown = invert ? 255 - light : light;
    colours[grey] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
  }
  return colours;
}

/** One pane: the canvas within `root`, a line that says how it is looked at, and what the pointer and keys do. */
export class Pane {
  constructor(root, sight, drag) {
    this.canvas = root.querySelector("canvas.image");
    this.state = root.querySelector(".seen");
    this.drag = drag; // () => "window" | "pan"
    this.image = null;
    this.again = () => this.later();
    this.look(sight);
    new ResizeObserver(this.again).observe(this.canvas);
    this.listen();
  }

  /** Look by this sight from now on. */
  look(sight) {
    this.sight?.removeEventListener("change", this.again);
    this.sight = sight;
    sight.addEventListener("change", this.again);
    this.later();
  }

  /** Show { rows, columns, grey }, or nothing for null. */
  show(image) {
    this.image = image;
    this.windowed = null;
    this.later();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { canvas, image } = this;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * density));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * density));
    const { zoom, x, y, centre, width, invert } = this.sight.values;
    this.state.textContent = image
      ? `${image.columns} × ${image.rows} · zoom ${Math.round(100 * zoom)} % · L ${centre.toFixed(2)} W ${width.toFixed(2)}${invert ? " · inverted" : ""}`
      : "";
    if (!image) return;
    const context = canvas.getContext("2d");
    const scale = this.scale();
    context.imageSmoothingQuality = "high";
    const [left, top] = [canvas.width / 2 - x * image.columns * scale, canvas.height / 2 - y * image.rows * scale];
    context.drawImage(this.through(), left, top, image.columns * scale, image.rows * scale);
  }

  /** The image through the window; made again only when the window is another. */
  through() {
    const { image } = this;
    const { centre, width, invert } = this.sight.values;
    const name = `${centre} ${width} ${invert}`;
    if (this.windowed?.name === name) return this.windowed.canvas;
    const [colours, data] = [table(this.sight.values), new ImageData(image.columns, image.rows)];
    const shown = new Uint32Array(data.data.buffer);
    for (let i = 0; i < shown.length; i++) shown[i] = colours[image.grey[i]];
    const canvas = this.windowed?.canvas ?? new OffscreenCanvas(image.columns, image.rows);
    canvas.getContext("2d").putImageData(data, 0, 0);
    this.windowed = { name, canvas };
    return canvas;
  }

  /** Canvas pixels to one pixel of the image. */
  scale() {
    const { canvas, image } = this;
    return Math.min(canvas.width / image.columns, canvas.height / image.rows) * this.sight.values.zoom;
  }

  /** Zoom by `factor`; what is under the point (in pixels of the page, from the canvas's corner) stays there. */
  zoom(factor, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    if (!this.image) return;
    const { zoom, x, y } = this.sight.values;
    const to = between(1, zoom * factor, MOST_ZOOM);
    const density = this.canvas.width / this.canvas.clientWidth;
    const away = (density / this.scale()) * (1 - zoom / to);
    this.sight.set({
      zoom: to,
      x: to === 1 ? 0.5 : x + ((left - this.canvas.clientWidth / 2) * away) / this.image.columns,
      y: to === 1 ? 0.5 : y + ((top - this.canvas.clientHeight / 2) * away) / this.image.rows,
    });
  }

  /** Move the image by pixels of the page. */
  pan(right, down) {
    if (!this.image) return;
    const { x, y } = this.sight.values;
    const step = this.canvas.width / this.canvas.clientWidth / this.scale();
    this.sight.set({ x: x - (right * step) / this.image.columns, y: y - (down * step) / this.image.rows });
  }

  /** Change the window as viewers do: right is wider, down is a higher level. */
  window(right, down) {
    const { centre, width } = this.sight.values;
    this.sight.set({ width: width * Math.exp(right / 200), centre: centre + (down / 400) * Math.min(1, width) });
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (event.button === 1) event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || !canvas.hasPointerCapture(event.pointerId)) return;
      const pans = event.shiftKey || event.buttons === 4 || this.drag() === "pan";
      if (pans) this.pan(event.movementX, event.movementY);
      else this.window(event.movementX, event.movementY);
    });
    canvas.addEventListener("dblclick", () => this.sight.set(FIT));
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
      if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      if (event.shiftKey) this.window(-move[0] / 2, -move[1] / 2);
      else this.pan(...move);
    });
  }
}

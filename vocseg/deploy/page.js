// Draws the value of the result: the image under the classes of one or two models, which share their switches.
const root = element.querySelector(".vocseg-result");
const hidden = new Set([0]); // indices of classes that are not drawn; at first the background
let opacity = 60; // per cent
let newest = 0;

function make(tag, properties = {}, ...children) {
  const { data, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

// Colours of the classes that are switched on, with a white line where they end.
function draw(canvas, labels, colours) {
  const { width, height } = canvas;
  const picture = new ImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer); // little-endian RGBA
  const packed = new Uint32Array(256);
  for (const [index, [red, green, blue]] of colours)
    if (!hidden.has(index)) packed[index] = (255 << 24) | (blue << 16) | (green << 8) | red;
  const line = Math.max(1, Math.round(Math.max(width, height) / 500));
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const own = packed[labels[at]];
      const right = packed[labels[x + line < width ? at + line : at]];
      const below = packed[labels[y + line < height ? at + line * width : at]];
      pixels[at] = own === right && own === below ? own : 0xffffffff;
    }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function figure(value, model, labels) {
  const [width, height] = value.shown;
  const photo = make("img", { src: value.image, alt: value.name });
  const canvas = make("canvas", { width, height });
  canvas.setAttribute("aria-hidden", "true");
  const stage = make("div", { className: "stage" }, photo, canvas);
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.maxWidth = `${(75 * width) / height}vh`; // a tall image is as high as three quarters of the window
  const save = make("a", { className: "save", href: model.mask, download: model.file }, "Download mask");
  const about = make("p", {}, `${model.ms.toFixed(model.ms < 10 ? 1 : 0)} ms on ${model.device}`);
  const parts = model.name.split(/(?<=[/\\])/).flatMap((part) => [part, make("wbr")]); // lines break after slashes
  const name = make("p", { className: "name" }, make("b", {}, model.letter), " ", ...parts);
  const caption = make("figcaption", {}, make("div", {}, name, about), save);
  return { letter: model.letter, labels, canvas, stage, made: make("figure", {}, stage, caption) };
}

// The classes with their areas, each with a switch.
function legend(value, update) {
  const rows = value.classes.map((each) => {
    const box = make("input", { type: "checkbox", checked: !hidden.has(each.index) });
    box.addEventListener("change", () => {
      box.checked ? hidden.delete(each.index) : hidden.add(each.index);
      update();
    });
    const chip = make("span", { className: "chip" });
    chip.style.background = `rgb(${each.colour.join()})`;
    const areas = each.shares.map((share) => make("td", {}, percent(share)));
    return make("tr", {}, make("th", { scope: "row" }, make("label", {}, box, chip, each.name)), ...areas);
  });
  const all = (on) => () => {
    for (const each of value.classes) on ? hidden.delete(each.index) : hidden.add(each.index);
    for (const row of rows) row.querySelector("input").checked = on;
    update();
  };
  const heads = value.models.map((each) => make("th", { scope: "col" }, each.letter || "Area"));
  const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Class"), ...heads));
  const buttons = ["Show all", "Hide all"].map((text, k) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", all(k === 0));
    return button;
  });
  const none = value.classes.every((each) => each.index === 0) ? [make("p", {}, "No object was found.")] : [];
  const table = make("table", {}, head, make("tbody", {}, ...rows));
  return make("div", { className: "legend" }, table, ...none, make("div", { className: "buttons" }, ...buttons));
}

function slider(views) {
  const text = make("output", {}, `${opacity} %`);
  const range = make("input", { type: "range", min: 0, max: 100, value: opacity });
  range.addEventListener("input", () => {
    opacity = Number(range.value);
    text.textContent = `${opacity} %`;
    for (const view of views) view.canvas.style.opacity = opacity / 100;
  });
  return make("label", { className: "opacity" }, "Opacity", range, text);
}

// Names the class under the pointer, of each model.
function readout(value, views) {
  const idle = "Point at the image to read the class of a pixel.";
  const text = make("p", { className: "readout" }, idle);
  const names = new Map(value.classes.map((each) => [each.index, each.name]));
  for (const { stage } of views) {
    stage.addEventListener("pointermove", (event) => {
      const box = stage.getBoundingClientRect();
      const [width, height] = value.shown;
      const x = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * width)));
      const y = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * height)));
      const found = views.map(({ letter, labels }) => `${letter} ${names.get(labels[y * width + x])}`.trim());
      text.textContent = found.join(", ");
    });
    stage.addEventListener("pointerleave", () => (text.textContent = idle));
  }
  return text;
}

async function render(value) {
  const turn = ++newest;
  if (!value) {
    const text = "The prediction is shown here. Choose an image, take one with the camera, or try a sample.";
    root.replaceChildren(make("p", { className: "hint" }, text));
    return;
  }
  if (value.error) {
    const sentence = make("p", { className: "error" }, value.error);
    sentence.setAttribute("role", "alert");
    root.replaceChildren(sentence);
    return;
  }
  const labels = await Promise.all(value.models.map((model) => inflate(model.labels)));
  if (turn !== newest) return; // another image came meanwhile
  const views = value.models.map((model, k) => figure(value, model, labels[k]));
  const colours = value.classes.map((each) => [each.index, each.colour]);
  const update = () => views.forEach((view) => draw(view.canvas, view.labels, colours));
  for (const view of views) view.canvas.style.opacity = opacity / 100;
  const figures = make("div", { className: "figures", data: { models: views.length } }, ...views.map((v) => v.made));
  const size = make("p", {}, `${value.name}, ${value.size.join("x")} pixels`);
  const side = make("div", { className: "side" }, slider(views), legend(value, update), size);
  root.replaceChildren(make("div", { className: "both" }, make("div", {}, figures, readout(value, views)), side));
  update();
}

watch("value", () => render(props.value));
render(props.value);

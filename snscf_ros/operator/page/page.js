// Copyright 2026 snscf maintainers
// SPDX-License-Identifier: Apache-2.0

// The operator's page. Each picture carries the stamp of its image, and the tracker's boxes are drawn into the picture
// of the same stamp. Stamps are nanoseconds as texts: they are more than a number of JavaScript can hold.

const $ = (id) => document.getElementById(id);
const STATES = ["tracked", "uncertain", "lost"];
// bright on any picture, and told apart by the colour-blind
const COLOURS = ["#56b4e9", "#f0a202", "#3ddc97", "#f4e04d", "#e58fc0", "#ff7f50", "#9aa7ff", "#e8e8e8"];
const SPAN = 30; // s of score and state that a strip shows
const SMALLEST = 4; // pixels of the image; a smaller box is a slip
const TAP = 6; // pixels of the screen; a shorter drag is a tap
const CORNER = 22; // pixels of the screen around a corner in which it is taken hold of

/** Returns the colour of a target, the same for every operator. */
function colour(id) {
  const digits = /\d+$/.exec(id);
  let number = digits ? Number(digits[0]) : 0;
  if (!digits) for (const letter of id) number = (number * 31 + letter.codePointAt(0)) >>> 0;
  return COLOURS[number % COLOURS.length];
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function seconds(value) {
  if (value < 60) return `${Math.floor(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

function percentile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : 0;
}

// --- the connection ---

/** Keeps a WebSocket to the server, and opens it again whenever it breaks. */
class Connection extends EventTarget {
  #socket = null;
  #numbers = 0;
  #asked = new Map();
  #delay = 250;

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => { this.#delay = 250; this.#emit("open"); };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#text(JSON.parse(data)) : this.#frame(data));
    socket.onclose = ({ reason }) => {
      for (const answer of this.#asked.values()) answer({ success: false, message: "the connection broke" });
      this.#asked.clear();
      this.#emit("closed", reason);
      setTimeout(() => this.open(), this.#delay);
      this.#delay = Math.min(4000, this.#delay * 2);
    };
  }

  get isOpen() { return this.#socket?.readyState === WebSocket.OPEN; }

  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  /** Sends a request, and returns a promise of the reply: {success, message, target_id}. */
  ask(message) {
    if (!this.isOpen) return Promise.resolve({ success: false, message: "there is no connection" });
    const number = ++this.#numbers;
    this.send({ ...message, number });
    return new Promise((answer) => this.#asked.set(number, answer));
  }

  #text(message) {
    if (message.type === "reply") {
      this.#asked.get(message.number)?.(message);
      this.#asked.delete(message.number);
    } else {
      this.#emit(message.type, message);
    }
  }

  #frame(data) {
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    this.#emit("frame", { ...header, jpeg: new Uint8Array(data, 4 + length), arrived: performance.now() });
  }

  #emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}

// --- what is known of the targets ---

/** Holds the last status of each camera, and the statuses of recent stamps for the pictures that belong to them. */
class Targets {
  latest = new Map(); // by camera: the last status
  strips = new Map(); // by camera and id: [{at, score, state}], at in seconds of performance.now()
  latencies = [];
  #byStamp = new Map();

  /** Takes a status; returns the ids of the targets that it says are newly lost, and found again. */
  add(status) {
    if (!status.silent) {
      this.#byStamp.set(`${status.camera}\n${status.stamp}`, status.targets);
      if (this.#byStamp.size > 200) this.#byStamp.delete(this.#byStamp.keys().next().value);
      // images in which nothing is followed cost the tracker nothing
      if (status.targets.length) this.latencies.push(status.latency * 1000);
      if (this.latencies.length > 150) this.latencies.shift();
    }
    const before = this.latest.get(status.camera)?.targets ?? [];
    const now = performance.now() / 1000;
    status.at = now;
    this.latest.set(status.camera, status);
    const changes = { lost: [], found: [] };
    for (const target of status.targets) {
      const key = `${status.camera}\n${target.id}`;
      const strip = this.strips.get(key) ?? [];
      this.strips.set(key, strip);
      if (!status.silent) strip.push({ at: now, score: target.score, state: target.state });
      while (strip.length && now - strip[0].at > SPAN) strip.shift();
      const was = before.find((one) => one.id === target.id);
      if (target.state === 2 && was && was.state !== 2) changes.lost.push(target.id);
      if (target.state !== 2 && was?.state === 2) changes.found.push(target.id);
    }
    for (const gone of before) {
      if (!status.targets.some((one) => one.id === gone.id)) this.strips.delete(`${status.camera}\n${gone.id}`);
    }
    return changes;
  }

  addHistory({ strips }) {
    const now = performance.now() / 1000;
    for (const { camera, id, points } of strips) {
      this.strips.set(`${camera}\n${id}`, points.map(([ago, score, state]) => ({ at: now - ago, score, state })));
    }
  }

  /** Returns the targets in the image of this stamp; none where the tracker has not said. */
  at(camera, stamp) { return this.#byStamp.get(`${camera}\n${stamp}`) ?? []; }

  /** Returns all targets of all cameras as they are now. */
  all() {
    return [...this.latest.values()].flatMap((status) => status.targets.map((target) => ({ ...target, camera: status.camera, at: status.at })));
  }
}

// --- the picture ---

/** Shows the pictures with their boxes, zoomed and moved, and lets the operator draw a box. */
class Stage extends EventTarget {
  #canvas = $("video");
  #frame = $("frame");
  #context = this.#canvas.getContext("2d", { alpha: false });
  #shown = null; // the frame that is on the screen
  #next = null; // the frame that will be
  #zoom = 1;
  #centre = null; // of the view, in pixels of the image; null for the image's own
  #pointers = new Map();
  #gesture = null; // what the pointers are doing
  #dirty = true;
  #size = [96, 96]; // of the last box, in pixels of the image
  box = null; // [x, y, w, h] being drawn or offered, in pixels of the image
  offered = false; // whether the box waits to be confirmed
  pending = null; // box whose start the tracker has not answered yet
  frozen = false;
  panning = false;
  shownTimes = [];

  constructor(targets) {
    super();
    this.targets = targets;
    new ResizeObserver(() => { this.#dirty = true; }).observe(this.#frame);
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#abandon(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    const draw = () => { this.#tick(); requestAnimationFrame(draw); };
    requestAnimationFrame(draw);
  }

  get current() { return this.#shown; }

  /** Whether the picture stands still: frozen, or because a box is being drawn on it. */
  get held() { return this.frozen || this.box !== null; }

  /** Takes the next frame, with its decoded bitmap; it is drawn with the next refresh of the screen. */
  show(frame) {
    this.#next?.bitmap.close();
    this.#next = frame;
  }

  clear() {
    for (const frame of [this.#next, this.#shown]) frame?.bitmap.close();
    this.#next = this.#shown = null;
    this.#centre = null;
    this.#zoom = 1;
    this.frozen = false;
    this.cancel();
  }

  redraw() { this.#dirty = true; }

  freeze(on) {
    this.frozen = on && this.#shown !== null;
    this.#changed();
  }

  cancel() {
    this.box = null;
    this.offered = false;
    this.#gesture = null;
    this.#changed();
  }

  /** Hands the box and its picture's stamp to whoever listens, and goes on with the live picture. */
  follow() {
    const frame = this.#shown;
    if (!this.box || !frame) return;
    const box = this.box.map((value) => Math.round(value * 10) / 10);
    this.#size = [box[2], box[3]];
    this.pending = box;
    this.frozen = false;
    this.cancel();
    this.dispatchEvent(new CustomEvent("drawn", { detail: { box, stamp: frame.stamp, camera: frame.camera } }));
  }

  offer(x, y) {
    if (!this.#shown) return;
    const [w, h] = this.#size;
    this.box = this.#inside([x - w / 2, y - h / 2, w, h]);
    this.offered = true;
    this.#changed();
  }

  zoom(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    if (!this.#shown) return;
    const [imageX, imageY] = this.#toImage(x, y);
    this.#zoom = Math.min(16, Math.max(1, this.#zoom * factor));
    // the point under the pointer stays there
    const scale = this.#scale();
    this.#centre = [imageX - (x - this.#canvas.clientWidth / 2) / scale, imageY - (y - this.#canvas.clientHeight / 2) / scale];
    this.#clampCentre();
    this.#changed();
  }

  fit() {
    this.#zoom = 1;
    this.#centre = null;
    this.#changed();
  }

  // --- between the screen and the image ---

  #scale() {
    const { width, height } = this.#shown;
    return this.#zoom * Math.min(this.#canvas.clientWidth / width, this.#canvas.clientHeight / height);
  }

  #middle() { return this.#centre ?? [this.#shown.width / 2, this.#shown.height / 2]; }

  #toImage(x, y) {
    const [scale, [cx, cy]] = [this.#scale(), this.#middle()];
    return [cx + (x - this.#canvas.clientWidth / 2) / scale, cy + (y - this.#canvas.clientHeight / 2) / scale];
  }

  #toScreen(x, y) {
    const [scale, [cx, cy]] = [this.#scale(), this.#middle()];
    return [(x - cx) * scale + this.#canvas.clientWidth / 2, (y - cy) * scale + this.#canvas.clientHeight / 2];
  }

  #clampCentre() {
    const scale = this.#scale();
    this.#centre = this.#middle().map((value, axis) => {
      const side = axis ? this.#shown.height : this.#shown.width;
      const half = (axis ? this.#canvas.clientHeight : this.#canvas.clientWidth) / scale / 2;
      return half * 2 >= side ? side / 2 : Math.min(side - half, Math.max(half, value));
    });
  }

  /** Moves and cuts a box so that it lies in the image. */
  #inside([x, y, w, h]) {
    const { width, height } = this.#shown;
    w = Math.min(w, width);
    h = Math.min(h, height);
    return [Math.min(width - w, Math.max(0, x)), Math.min(height - h, Math.max(0, y)), w, h];
  }

  /** Returns the box between two points, cut to the image. */
  #between([ax, ay], [bx, by]) {
    const { width, height } = this.#shown;
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    const [left, right] = [clamp(Math.min(ax, bx), width), clamp(Math.max(ax, bx), width)];
    const [top, bottom] = [clamp(Math.min(ay, by), height), clamp(Math.max(ay, by), height)];
    return [left, top, right - left, bottom - top];
  }

  // --- pointers: mouse, pen and fingers ---

  #at(event) {
    const place = this.#canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  }

  #down(event) {
    if (!this.#shown || (event.pointerType === "mouse" && event.button === 2)) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.classList.remove("keys");
    this.#canvas.setPointerCapture(event.pointerId);
    const point = this.#at(event);
    this.#pointers.set(event.pointerId, point);
    if (this.#pointers.size === 2) {
      // a second finger: not a box, but zoom
      if (this.#gesture?.kind === "draw") { this.box = null; this.offered = false; }
      this.#gesture = { kind: "pinch" };
      this.#changed();
    } else if (this.#pointers.size === 1) {
      this.#begin(point, this.panning || event.button === 1);
    }
  }

  #begin(point, move) {
    if (move) {
      this.#gesture = { kind: "pan" };
      return;
    }
    const grip = this.offered ? this.#gripAt(point) : null;
    const before = this.offered ? this.box : null;
    this.#gesture = grip ?? { kind: "draw", from: point, anchor: this.#toImage(...point) };
    this.#gesture.before = before;
    if (!grip) {
      this.offered = false;
      this.box = [...this.#gesture.anchor, 0, 0];
    }
    this.#changed();
  }

  /** Returns the gesture that takes hold of the offered box at this point of the screen: a corner or its inside. */
  #gripAt([px, py]) {
    const [x, y, w, h] = this.box;
    const corners = [[x, y], [x + w, y], [x, y + h], [x + w, y + h]];
    for (const [index, corner] of corners.entries()) {
      const [sx, sy] = this.#toScreen(...corner);
      if (Math.hypot(px - sx, py - sy) < CORNER) return { kind: "resize", anchor: corners[3 - index] };
    }
    const [ix, iy] = this.#toImage(px, py);
    if (ix < x || ix > x + w || iy < y || iy > y + h) return null;
    return { kind: "move", offset: [ix - x, iy - y] };
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (!last || !this.#gesture || !this.#shown) return;
    const point = this.#at(event);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.#pointers.set(event.pointerId, point);
    const { kind } = this.#gesture;
    if (kind === "pinch" && others.length) this.#pinch(last, point, others[0]);
    else if (kind === "pan") this.#drag(point[0] - last[0], point[1] - last[1]);
    else if (kind === "draw" || kind === "resize") this.box = this.#between(this.#gesture.anchor, this.#toImage(...point));
    else if (kind === "move") {
      const [x, y] = this.#toImage(...point);
      this.box = this.#inside([x - this.#gesture.offset[0], y - this.#gesture.offset[1], this.box[2], this.box[3]]);
    }
    this.#dirty = true;
  }

  #pinch(last, point, other) {
    const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
    const after = Math.hypot(point[0] - other[0], point[1] - other[1]);
    this.#drag((point[0] - last[0]) / 2, (point[1] - last[1]) / 2);
    if (before > 0) this.zoom(after / before, (point[0] + other[0]) / 2, (point[1] + other[1]) / 2);
  }

  #drag(dx, dy) {
    const [scale, [cx, cy]] = [this.#scale(), this.#middle()];
    this.#centre = [cx - dx / scale, cy - dy / scale];
    this.#clampCentre();
    this.#dirty = true;
  }

  #up(event) {
    const point = this.#at(event);
    this.#pointers.delete(event.pointerId);
    const gesture = this.#gesture;
    if (this.#pointers.size || !gesture || !this.#shown) return;
    this.#gesture = null;
    if (gesture.kind === "resize" || gesture.kind === "move") {
      if (Math.min(this.box[2], this.box[3]) < SMALLEST) this.box = gesture.before;
      this.#changed();
    }
    if (gesture.kind !== "draw") return;
    if (Math.hypot(point[0] - gesture.from[0], point[1] - gesture.from[1]) < TAP) {
      this.offer(...gesture.anchor);
      return;
    }
    this.box = this.#between(gesture.anchor, this.#toImage(...point));
    if (Math.min(this.box[2], this.box[3]) < SMALLEST) {
      this.cancel();
      this.dispatchEvent(new CustomEvent("small"));
      return;
    }
    this.follow();
  }

  #abandon(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#gesture?.kind === "draw") this.cancel();
    this.#gesture = null;
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 400), ...this.#at(event));
  }

  // --- keyboard ---

  #key(event) {
    this.#canvas.classList.add("keys");
    const step = event.altKey ? 1 : 8;
    const arrows = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Enter") {
      if (this.offered) this.follow();
      else if (this.#shown) this.offer(...this.#middle());
    } else if (event.key in arrows && this.#shown) {
      this.#arrow(arrows[event.key], event.shiftKey);
    } else {
      return;
    }
    event.preventDefault();
  }

  #arrow([dx, dy], resize) {
    if (!this.offered) {
      this.#drag(-dx * 4, -dy * 4);
      return;
    }
    const [x, y, w, h] = this.box;
    const { width, height } = this.#shown;
    this.box = resize
      ? [x, y, Math.min(width - x, Math.max(SMALLEST, w + dx)), Math.min(height - y, Math.max(SMALLEST, h + dy))]
      : this.#inside([x + dx, y + dy, w, h]);
    this.#changed();
  }

  // --- drawing ---

  #changed() {
    this.#dirty = true;
    this.dispatchEvent(new CustomEvent("changed"));
  }

  #tick() {
    if (this.#next && !this.held) {
      this.#shown?.bitmap.close();
      const first = this.#shown === null;
      this.#shown = this.#next;
      this.#next = null;
      this.#dirty = true;
      this.shownTimes.push(performance.now());
      if (this.shownTimes.length > 60) this.shownTimes.shift();
      if (first) this.#changed();
      const { stamp, camera } = this.#shown;
      document.dispatchEvent(new CustomEvent("snscf:shown", { detail: { stamp, camera, targets: this.targets.at(camera, stamp) } }));
    }
    if (this.#dirty) {
      this.#dirty = false;
      this.#draw();
    }
  }

  #draw() {
    const [canvas, context, ratio] = [this.#canvas, this.#context, window.devicePixelRatio || 1];
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#0b0d0c";
    context.fillRect(0, 0, width, height);
    if (!this.#shown) return;
    if (this.#centre) this.#clampCentre();
    const scale = this.#scale();
    const [left, top] = this.#toScreen(0, 0);
    context.imageSmoothingEnabled = scale < 4;
    context.drawImage(this.#shown.bitmap, left, top, this.#shown.width * scale, this.#shown.height * scale);
    for (const target of this.targets.at(this.#shown.camera, this.#shown.stamp)) this.#drawTarget(target);
    if (this.pending && !this.held) this.#outline(this.pending, "#ffffff", [3, 5]);
    if (this.box) this.#drawBox();
  }

  #outline([x, y, w, h], ink, dash) {
    const [left, top] = this.#toScreen(x, y);
    const [right, bottom] = this.#toScreen(x + w, y + h);
    const context = this.#context;
    for (const [style, line] of [["rgba(0,0,0,.75)", 4], [ink, 2]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.setLineDash(style === ink ? dash : []);
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
    return [left, top, right, bottom];
  }

  #corners([x, y, w, h], ink) {
    const [left, top] = this.#toScreen(x, y);
    const [right, bottom] = this.#toScreen(x + w, y + h);
    const [dx, dy] = [(right - left) / 4, (bottom - top) / 4];
    const context = this.#context;
    for (const [style, line] of [["rgba(0,0,0,.75)", 5], [ink, 3]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.beginPath();
      for (const [px, sx] of [[left, dx], [right, -dx]]) {
        for (const [py, sy] of [[top, dy], [bottom, -dy]]) {
          context.moveTo(px + sx, py);
          context.lineTo(px, py);
          context.lineTo(px, py + sy);
        }
      }
      context.stroke();
    }
    return [left, top, right, bottom];
  }

  #drawTarget(target) {
    const ink = colour(target.id);
    const state = STATES[target.state];
    const place = state === "lost" ? this.#corners(target.box, ink) : this.#outline(target.box, ink, state === "uncertain" ? [7, 5] : []);
    const text = `${target.primary ? "★ " : ""}${target.id}  ${target.score.toFixed(2)}${state === "tracked" ? "" : `  ${state}`}`;
    this.#label(text, place, ink);
  }

  #label(text, [left, top], ink) {
    const context = this.#context;
    context.font = "600 13px system-ui, sans-serif";
    const width = context.measureText(text).width + 10;
    const x = Math.max(0, Math.min(left - 1, this.#canvas.clientWidth - width));
    const y = Math.max(0, top - 21);
    context.fillStyle = ink;
    context.fillRect(x, y, width, 19);
    context.fillStyle = "#0a0f0d";
    context.textBaseline = "middle";
    context.fillText(text, x + 5, y + 10);
  }

  #drawBox() {
    const [left, top, right, bottom] = this.#outline(this.box, "#ffffff", this.offered ? [] : [6, 4]);
    if (!this.offered) return;
    this.#context.fillStyle = "#ffffff";
    for (const x of [left, right]) for (const y of [top, bottom]) this.#context.fillRect(x - 5, y - 5, 10, 10);
  }
}

// --- the list of targets ---

class TargetList extends EventTarget {
  #list = $("targets");
  #items = new Map();
  chosen = null; // id of the target that the next box starts again

  constructor(targets) {
    super();
    this.targets = targets;
  }

  update() {
    const all = this.targets.all();
    const several = this.targets.latest.size > 1;
    const now = performance.now() / 1000;
    $("no-targets").hidden = all.length > 0;
    if (this.chosen !== null && !all.some((target) => target.id === this.chosen)) this.choose(null);
    for (const [key, item] of this.#items) {
      if (!all.some((target) => `${target.camera}\n${target.id}` === key)) {
        item.remove();
        this.#items.delete(key);
      }
    }
    for (const target of all) this.#show(target, several, now);
  }

  choose(id) {
    this.chosen = id;
    this.dispatchEvent(new CustomEvent("chosen"));
    this.update();
  }

  #show(target, several, now) {
    const key = `${target.camera}\n${target.id}`;
    const item = this.#items.get(key) ?? this.#make(key, target);
    const part = (name) => item.querySelector(`.${name}`);
    const state = STATES[target.state] ?? "unknown";
    setText(part("id"), several && target.camera ? `${target.id} (${target.camera})` : target.id);
    part("star").hidden = !target.primary;
    setText(part("state"), state);
    part("state").className = `state pill ${state}`;
    item.className = `target ${state}${target.id === this.chosen ? " chosen" : ""}`;
    setText(part("score"), target.score.toFixed(2));
    setText(part("age"), `for ${seconds(target.age + now - target.at)}`);
    part("primary").disabled = target.primary;
    setText(part("redraw"), target.id === this.chosen ? "Cancel" : "Redraw");
    this.#strip(part("strip"), this.targets.strips.get(key) ?? [], now);
  }

  #make(key, target) {
    const item = $("target-template").content.firstElementChild.cloneNode(true);
    item.dataset.id = target.id;
    item.querySelector(".swatch").style.background = colour(target.id);
    const on = (name, act) => item.querySelector(`.${name}`).addEventListener("click", act);
    on("primary", () => this.#ask("primary", target.id));
    on("remove", () => this.#ask("remove", target.id));
    on("redraw", () => this.choose(this.chosen === target.id ? null : target.id));
    this.#items.set(key, item);
    this.#list.append(item);
    return item;
  }

  #ask(type, id) { this.dispatchEvent(new CustomEvent("ask", { detail: { type, target_id: id } })); }

  #strip(canvas, points, now) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const inks = STATES.map((state) => style.getPropertyValue(`--${state}`));
    context.clearRect(0, 0, width, height);
    for (const [index, point] of points.entries()) {
      const end = points[index + 1]?.at ?? now;
      const left = width * (1 - (now - point.at) / SPAN);
      const right = width * (1 - (now - Math.min(end, point.at + 1)) / SPAN);
      const tall = Math.max(2 * ratio, point.score * height);
      context.fillStyle = inks[point.state] ?? inks[2];
      context.fillRect(left, height - tall, Math.max(1, right - left), tall);
    }
  }
}

// --- the page ---

const connection = new Connection();
const targets = new Targets();
const stage = new Stage(targets);
const list = new TargetList(targets);
let state = null; // what the server last said of the tracker
let camera = null; // whose pictures are shown
let roundTrip = 0; // s
let audio = null;

function log(text, bad = false) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  const said = document.createElement("span");
  said.textContent = text;
  if (bad) said.className = "bad";
  item.append(time, said);
  $("log").prepend(item);
  while ($("log").children.length > 12) $("log").lastElementChild.remove();
}

let hintUntil = 0;

function hint(text, kind = "", forSeconds = 0) {
  setText($("hint"), text);
  $("hint").className = kind;
  hintUntil = performance.now() + forSeconds * 1000;
}

/** Says what can be done now, unless something more important has just been said. */
function updateHint() {
  if (performance.now() < hintUntil && !stage.held) return;
  const frame = stage.current;
  const old = frame ? (performance.now() - frame.arrived) / 1000 : 0;
  const limit = state?.buffer_seconds ?? 0;
  const age = limit && old > limit ? `The picture is ${old.toFixed(0)} s old; the tracker remembers about ${limit.toFixed(0)} s.` : "";
  if (!frame) hint("");
  else if (stage.offered) hint(age || "Follow what is in this box? Move it, or pull its corners.", age ? "bad" : "");
  else if (stage.held && age) hint(age, "bad");
  else if (list.chosen !== null) hint(`Draw the box of '${list.chosen}' anew.`);
  else if (stage.frozen) hint("The picture is frozen. Drag a box on it.");
  else if (stage.panning) hint("Drag to move the picture.");
  else hint("Drag a box around a target, or tap it.");
}

async function ask(message, what) {
  const reply = await connection.ask(message);
  log(reply.success ? reply.message : `${what}: ${reply.message}`, !reply.success);
  hint(reply.success ? reply.message : `Refused: ${reply.message}`, reply.success ? "good" : "bad", reply.success ? 4 : 10);
  return reply;
}

function watch(name) {
  if (camera !== name) stage.clear();
  camera = name;
  connection.send({ type: "watch", camera: document.hidden ? null : name });
}

function beep() {
  if (!audio) return;
  for (const [at, pitch] of [[0, 660], [0.18, 440]]) {
    const [tone, gain] = [audio.createOscillator(), audio.createGain()];
    tone.frequency.value = pitch;
    gain.gain.setValueAtTime(0.15, audio.currentTime + at);
    gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.16);
    tone.connect(gain).connect(audio.destination);
    tone.start(audio.currentTime + at);
    tone.stop(audio.currentTime + at + 0.17);
  }
}

function updateCameras(cameras) {
  const names = cameras.map(({ name }) => name);
  const select = $("camera");
  if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => new Option(name || "camera", name)));
  }
  $("camera-choice").hidden = names.length < 2;
  if (names.length && !names.includes(camera)) watch(names[0]);
  if (camera !== null) select.value = camera;
}

function updateConnection() {
  const pill = $("connection");
  const [text, kind] = !connection.isOpen ? ["no connection", "bad"]
    : !state ? ["connecting", "fair"]
    : !state.reachable ? ["tracker does not answer", "bad"]
    : targets.latest.get(camera)?.silent ? ["camera is silent", "bad"]
    : !state.enabled ? ["tracking is off", "fair"]
    : ["connected", "good"];
  setText(pill, text);
  pill.className = `pill ${kind}`;
  setText($("viewers"), state && state.viewers > 1 ? `${state.viewers} viewers` : "");
  const empty = $("empty");
  empty.hidden = stage.current !== null;
  const failure = state?.cameras.find(({ name }) => name === camera)?.failure;
  setText(empty, !connection.isOpen ? "No connection to the page's server. Trying again."
    : !state?.reachable && !state?.cameras.length ? "Waiting for the tracker"
    : failure ? `The images cannot be shown: ${failure}` : "Waiting for the camera's first image");
}

function updateHealth() {
  const status = targets.latest.get(camera);
  const sorted = [...targets.latencies].sort((a, b) => a - b);
  const times = stage.shownTimes.filter((time) => performance.now() - time < 3000);
  const rate = times.length > 1 ? ((times.length - 1) * 1000) / (times.at(-1) - times[0]) : 0;
  const { device = "", engine = "", model = "", state: doing = "" } = state?.details ?? {};
  const latency = sorted.length ? `${percentile(sorted, 0.5).toFixed(0)} / ${percentile(sorted, 0.95).toFixed(0)} ms` : "–";
  const silent = status?.silent ?? false;
  const parts = silent ? ["camera silent"] : [`${rate.toFixed(0)} pictures/s`, `latency ${latency}`];
  if (status) parts.push(`${status.dropped} dropped`);
  if (status?.problem) parts.unshift(status.problem);
  if (device) parts.push(engine ? `${device}, ${engine}` : device);
  setText($("health-line"), parts.join(" · "));
  const kind = !connection.isOpen || !state?.reachable || silent ? "bad" : status && state.reporting && !status.problem ? "good" : "fair";
  $("health-dot").className = `dot ${kind}`;
  if (!$("health").open) return;
  const rows = [
    ["tracker", state?.tracker ?? ""], ["state", doing], ["model", model], ["device, engine", [device, engine].filter(Boolean).join(", ")],
    ["latency, median / 95 %", latency],
    ["images received", status?.received], ["processed", status?.processed], ["dropped", status?.dropped], ["rejected", status?.rejected],
    ["restarts", status?.restarts], ["images from", state?.cameras.find(({ name }) => name === camera)?.topic],
    ["to this page and back", `${(roundTrip * 1000).toFixed(0)} ms`], ["viewers", state?.viewers],
  ];
  $("health-details").replaceChildren(...rows.filter(([, value]) => value !== undefined && value !== "").flatMap(([name, value]) => {
    const [term, said] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    said.textContent = String(value);
    return [term, said];
  }));
}

function updateButtons() {
  $("freeze").setAttribute("aria-pressed", String(stage.frozen));
  $("pan").setAttribute("aria-pressed", String(stage.panning));
  $("follow").hidden = !stage.offered;
  $("cancel").hidden = !stage.offered && list.chosen === null && !stage.frozen;
  $("frame").classList.toggle("frozen", stage.frozen);
  $("video").classList.toggle("pan", stage.panning);
  updateHint();
}

function cancelAll() {
  stage.cancel();
  stage.freeze(false);
  if (list.chosen !== null) list.choose(null);
  updateButtons();
}

connection.addEventListener("open", () => {
  hint("");
  updateConnection();
});
connection.addEventListener("closed", ({ detail: reason }) => {
  if (reason) log(`The server closed the connection: ${reason}`, true);
  state = null;
  targets.latest.clear();
  updateConnection();
});
connection.addEventListener("hello", () => { if (camera !== null) watch(camera); });
connection.addEventListener("history", ({ detail }) => targets.addHistory(detail));
connection.addEventListener("state", ({ detail }) => {
  state = detail;
  // a frame of a file: nothing runs, so there is nothing to switch off or to watch
  document.body.classList.toggle("still", Boolean(state.still));
  $("enable").setAttribute("aria-pressed", String(state.enabled));
  setText($("enable"), state.enabled ? "Tracking" : "Tracking is off");
  updateCameras(state.cameras);
  updateConnection();
});
connection.addEventListener("status", ({ detail: status }) => {
  const { lost, found } = targets.add(status);
  stage.redraw();
  const names = (ids) => ids.map((id) => `'${id}'`).join(", ");
  if (found.length) log(`${names(found)} found again`);
  if (lost.length) {
    beep();
    log(`${names(lost)} lost`, true);
  }
});
connection.addEventListener("frame", async ({ detail: frame }) => {
  roundTrip = frame.round_trip;
  try {
    // boxes count in the pixels as the camera sent them, whatever the file says of its orientation
    frame.bitmap = await createImageBitmap(new Blob([frame.jpeg], { type: "image/jpeg" }), { imageOrientation: "none" });
  } catch {
    connection.send({ type: "ack", frame: frame.frame });
    return;
  }
  connection.send({ type: "ack", frame: frame.frame });
  delete frame.jpeg;
  frame.width ||= frame.bitmap.width;
  frame.height ||= frame.bitmap.height;
  if (frame.camera === camera) {
    stage.show(frame);
    $("empty").hidden = true;
  } else {
    frame.bitmap.close();
  }
});
connection.addEventListener("event", ({ detail }) => log(`Operator ${detail.by}: ${detail.message}`));
connection.addEventListener("refused", ({ detail }) => {
  log(`Refused: ${detail.reason}`, true);
  hint(`Refused: ${detail.reason}`, "bad", 10);
});

stage.addEventListener("changed", updateButtons);
stage.addEventListener("small", () => hint("That box was too small: drag from one corner to the other.", "bad", 4));
stage.addEventListener("drawn", async ({ detail }) => {
  const id = list.chosen ?? "";
  list.choose(null);
  hint("Starting…", "", 20);
  await ask({ type: "start", ...detail, target_id: id }, "Not started");
  stage.pending = null;
  stage.redraw();
});
list.addEventListener("ask", ({ detail }) => ask(detail, `'${detail.target_id}'`));
list.addEventListener("chosen", updateButtons);

$("camera").addEventListener("change", ({ target }) => watch(target.value));
$("follow").addEventListener("click", () => stage.follow());
$("cancel").addEventListener("click", cancelAll);
$("zoom-in").addEventListener("click", () => stage.zoom(1.5));
$("zoom-out").addEventListener("click", () => stage.zoom(1 / 1.5));
$("zoom-fit").addEventListener("click", () => stage.fit());
$("pan").addEventListener("click", () => { stage.panning = !stage.panning; updateButtons(); });
$("freeze").addEventListener("click", () => stage.freeze(!stage.frozen));
$("enable").addEventListener("click", () => ask({ type: "enable", on: !(state?.enabled ?? true) }, "Tracking"));
$("reset").addEventListener("click", () => $("ask-reset").showModal());
$("ask-reset").addEventListener("close", ({ target }) => {
  if (target.returnValue === "yes") ask({ type: "reset" }, "Reset");
  target.returnValue = "";
});
$("sound").addEventListener("click", () => {
  if (audio) audio.close();
  audio = audio ? null : new AudioContext();
  $("sound").setAttribute("aria-pressed", String(audio !== null));
  beep();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.target.matches("select, input") || $("ask-reset").open) return;
  const act = {
    Escape: cancelAll, f: () => stage.freeze(!stage.frozen), "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5),
    "-": () => stage.zoom(1 / 1.5), 0: () => stage.fit(),
  }[event.key];
  if (act) { act(); event.preventDefault(); }
});
document.addEventListener("visibilitychange", () => { if (camera !== null) watch(camera); });

setInterval(() => { list.update(); updateConnection(); updateHealth(); updateHint(); }, 250);

// the token is in a cookie by now, and has no business in the history or on a shared screen
if (location.search) history.replaceState(null, "", "/");
connection.open();

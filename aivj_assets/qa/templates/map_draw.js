// Drawing: one call over all points; classes that are switched off are thrown away by the vertex shader.
const VERTEX = `#version 300 es
precision highp float;
precision highp int;
layout(location = 0) in vec2 place;
layout(location = 1) in uint cluster;
layout(location = 2) in uint energy;
layout(location = 3) in uint batch;
layout(location = 4) in uint mark;
uniform vec2 centre, scale;
uniform float size;
uniform int colourBy, drawn;
uniform bool marksCount;
uniform sampler2D classes;
out vec4 colour;
flat out float wide;
void main() {
  vec4 c = texelFetch(classes, ivec2(int(cluster), 0), 0);
  vec4 e = texelFetch(classes, ivec2(int(energy), 1), 0);
  vec4 b = texelFetch(classes, ivec2(int(batch), 2), 0);
  bool marked = mark > 0u;
  bool shown = c.a * e.a * b.a > 0.0 && (drawn == 2 || marked == (drawn == 1));
  vec2 at = (place - centre) * scale;
  gl_Position = shown ? vec4(at, 0.0, 1.0) : vec4(9.0, 9.0, 9.0, 1.0);
  vec3 rgb = colourBy == 0 ? c.rgb : colourBy == 1 ? e.rgb : b.rgb;
  colour = marksCount && !marked ? vec4(rgb * 0.28, 1.0) : vec4(rgb, 1.0);
  wide = size * (marksCount && marked ? 1.5 : 1.0);
  gl_PointSize = wide;
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 colour;
flat in float wide;
out vec4 pixel;
void main() {
  if (wide > 3.5 && length(gl_PointCoord - 0.5) > 0.5) discard;
  pixel = colour;
}`;

// Points are drawn in a fixed random order: else the last cluster would lie over all others.
function shuffled(n) {
  const order = new Uint32Array(n);
  let state = 1;
  for (let i = 0; i < n; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    order[i] = order[j];
    order[j] = i;
  }
  return order;
}

class Painter {
  constructor(canvas, points) {
    this.canvas = canvas;
    this.points = points;
    this.marks = new Uint8Array(points.n);
    this.anyMarks = false;
    this.colourBy = 0;
    this.order = shuffled(points.n);
    this.gl = canvas.getContext("webgl2", { antialias: false, alpha: false, depth: false, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("no WebGL2");
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.setUp(); this.restored?.(); });
    this.setUp();
  }

  setUp() {
    const gl = this.gl, { xy, classes } = this.points;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program) ?? "no program");
    gl.useProgram(program);
    this.at = Object.fromEntries(["centre", "scale", "size", "colourBy", "drawn", "marksCount"].map((name) => [name, gl.getUniformLocation(program, name)]));
    const buffer = (data, use) => {
      const made = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, made);
      gl.bufferData(gl.ARRAY_BUFFER, data, use);
      return made;
    };
    buffer(xy, gl.STATIC_DRAW);
    gl.vertexAttribPointer(0, 2, gl.UNSIGNED_SHORT, true, 0, 0);
    const parts = [...classes, this.marks];
    parts.forEach((data, i) => {
      const made = buffer(data, i === 3 ? gl.DYNAMIC_DRAW : gl.STATIC_DRAW);
      gl.vertexAttribIPointer(i + 1, 1, data.BYTES_PER_ELEMENT === 1 ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT, 0, 0);
      if (i === 3) this.markBuffer = made;
    });
    for (let i = 0; i < 5; i++) gl.enableVertexAttribArray(i);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, this.order, gl.STATIC_DRAW);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    gl.clearColor(0.02, 0.02, 0.03, 1);
    if (this.shown) this.setClasses(this.shown);
  }

  // `shown`: for each of the three kinds a list of {rgb: [0..255] × 3, on: whether it is shown}.
  setClasses(shown) {
    this.shown = shown;
    const gl = this.gl, width = Math.max(...shown.map((list) => list.length));
    const texels = new Uint8Array(width * 3 * 4);
    shown.forEach((list, row) => list.forEach(({ rgb, on }, i) => texels.set([...rgb, on ? 255 : 0], 4 * (row * width + i))));
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, width, 3, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
  }

  setMarks(numbers) {
    this.marks.fill(0);
    for (const i of numbers) this.marks[i] = 1;
    this.anyMarks = numbers.length > 0;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.markBuffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, this.marks, this.gl.DYNAMIC_DRAW);
  }

  draw(view) {
    const gl = this.gl, canvas = this.canvas, ratio = view.ratio;
    const [width, height] = [Math.max(1, Math.round(view.width * ratio)), Math.max(1, Math.round(view.height * ratio))];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.at.centre, view.x, view.y);
    gl.uniform2f(this.at.scale, (2 * view.scale) / view.width, (2 * view.scale) / view.height);
    gl.uniform1f(this.at.size, view.pointSize * ratio);
    gl.uniform1i(this.at.colourBy, this.colourBy);
    gl.uniform1i(this.at.marksCount, this.anyMarks ? 1 : 0);
    for (const drawn of this.anyMarks ? [0, 1] : [2]) {
      gl.uniform1i(this.at.drawn, drawn);
      gl.drawElements(gl.POINTS, this.points.n, gl.UNSIGNED_INT, 0);
    }
  }
}

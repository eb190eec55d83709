// The warp pass drawn as one triangle, its mesh looked up per pixel.
//
// Belongs here: the rewritten shader texts, the mesh's texture. Does not belong here: computing the mesh (butterchurn).
//
// butterchurn draws the 48 x 36 mesh as 3,456 triangles of a few pixels each. A software renderer shades whole 4 x 4
// blocks: more than three times the pixels, and half of all GL time. Here every pixel interpolates the three corners
// of its mesh triangle itself: the same coordinates up to the last bit of a float.

/** How the mesh is interpolated: part of the pixel parameters, as the last bit of a colour may differ. */
export const WARP_MESH = "per-pixel";
const NAME = "aivj_mesh";
// Beyond the units that butterchurn and a preset's own textures use; every WebGL 2 has 32.
const UNIT = 31;
const TRIANGLE = new Float32Array([-1, -1, 0, 3, -1, 0, -1, 3, 0]);
const INDICES = new Uint16Array([0, 1, 2]);
const NOTHING = new Float32Array(0);

const IN_BODY = /void main\(void\) \{\s*vec3 ret;/;

/** The fragment shader with uv, uv_orig and vColor made in it instead of interpolated from the mesh's corners. */
function lookedUp(text, { mesh_width: columns, mesh_height: rows, texsizeX: width, texsizeY: height }) {
  const made = text
    .replace("in vec2 uv;", `uniform highp sampler2D ${NAME};\nvec2 uv;`)
    .replace("in vec2 uv_orig;", "vec2 uv_orig;")
    .replace("in vec4 vColor;", "const vec4 vColor = vec4(1.0);") // others only while two presets blend
    .replace(
      IN_BODY,
      `void main(void) {
        uv_orig = gl_FragCoord.xy / vec2(${width}.0, ${height}.0);
        highp vec2 aivj_at = vec2(uv_orig.x, 1.0 - uv_orig.y) * vec2(${columns}.0, ${rows}.0);
        ivec2 aivj_cell = ivec2(aivj_at);
        aivj_at -= vec2(aivj_cell);
        // Two triangles a cell: upper left (a, b, d) and lower right (c, d, b).
        bool aivj_lower = aivj_at.x + aivj_at.y > 1.0;
        highp vec2 aivj_b = texelFetch(${NAME}, aivj_cell + ivec2(0, 1), 0).xy;
        highp vec2 aivj_d = texelFetch(${NAME}, aivj_cell + ivec2(1, 0), 0).xy;
        highp vec2 aivj_o = texelFetch(${NAME}, aivj_cell + (aivj_lower ? ivec2(1) : ivec2(0)), 0).xy;
        if (aivj_lower) aivj_at = 1.0 - aivj_at.yx;
        uv = aivj_o + aivj_at.x * (aivj_d - aivj_o) + aivj_at.y * (aivj_b - aivj_o);
        vec3 ret;`,
    );
  if (!made.includes("texelFetch") || !made.includes("const vec4 vColor")) {
    throw new Error("this butterchurn's warp shader is not the one that is known");
  }
  return made;
}

function makeTexture(gl, columns, rows) {
  const texture = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0 + UNIT);
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RG32F, columns, rows);
  return texture;
}

/** Changes butterchurn's warp pass for the life of the page, given its class. */
export function drawMeshPerPixel(WarpShader) {
  const { createShader, renderQuadTexture } = WarpShader.prototype;

  WarpShader.prototype.createShader = function createLookedUp(shaderText) {
    const { gl } = this;
    const native = gl.shaderSource.bind(gl);
    gl.shaderSource = (shader, text) => native(shader, text.includes("in vec2 uv_orig;") ? lookedUp(text, this) : text);
    try {
      createShader.call(this, shaderText);
    } finally {
      delete gl.shaderSource;
    }
    this.meshLocation = gl.getUniformLocation(this.shaderProgram, NAME);
    this.indices = INDICES;
    this.vertices = TRIANGLE;
  };

  WarpShader.prototype.renderQuadTexture = function renderLookedUp(...given) {
    const { gl } = this;
    const [columns, rows] = [this.mesh_width + 1, this.mesh_height + 1];
    gl.meshTexture ??= makeTexture(gl, columns, rows);
    gl.useProgram(this.shaderProgram);
    gl.activeTexture(gl.TEXTURE0 + UNIT);
    gl.bindTexture(gl.TEXTURE_2D, gl.meshTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    const [warpUVs, warpColor] = [given.length - 2, given.length - 1];
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, columns, rows, gl.RG, gl.FLOAT, given[warpUVs]);
    gl.uniform1i(this.meshLocation, UNIT);
    given[warpUVs] = NOTHING;
    given[warpColor] = NOTHING;
    renderQuadTexture.apply(this, given);
  };
}

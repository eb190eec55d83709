// The instances of a custom shape drawn together.
//
// Belongs here: collecting fans as triangles and drawing them in one call, in the same order with the same vertices.
// Does not belong here: what a shape looks like (butterchurn), its border (each is drawn between two fills).
//
// butterchurn draws up to 1,024 instances of a shape one by one, a dozen calls each.

const MOST_VERTICES = 0xffff; // indices of 16 bits
const MOST_SIDES = 100;

function createBatch(gl) {
  return {
    positions: new Float32Array(MOST_VERTICES * 3),
    colors: new Float32Array(MOST_VERTICES * 4),
    uvs: new Float32Array(MOST_VERTICES * 2),
    indices: new Uint16Array(MOST_VERTICES * 3),
    buffers: [gl.createBuffer(), gl.createBuffer(), gl.createBuffer(), gl.createBuffer()],
    vertices: 0,
    corners: 0,
    texture: null,
    isTextured: false,
    isAdditive: false,
  };
}

function append(batch, shape, sides) {
  const count = sides + 2;
  const first = batch.vertices;
  for (let i = 0; i < count * 3; i += 1) batch.positions[first * 3 + i] = shape.positions[i];
  for (let i = 0; i < count * 4; i += 1) batch.colors[first * 4 + i] = shape.colors[i];
  for (let i = 0; i < count * 2; i += 1) batch.uvs[first * 2 + i] = shape.uvs[i];
  for (let i = 2; i < count; i += 1) {
    batch.indices[batch.corners] = first;
    batch.indices[batch.corners + 1] = first + i - 1;
    batch.indices[batch.corners + 2] = first + i;
    batch.corners += 3;
  }
  batch.vertices += count;
}

function drawBatch(gl, batch, shape) {
  if (batch.corners === 0) return;
  gl.useProgram(shape.shaderProgram);
  const attributes = [
    [shape.aPosLocation, batch.positions, 3],
    [shape.aColorLocation, batch.colors, 4],
    [shape.aUvLocation, batch.uvs, 2],
  ];
  for (let i = 0; i < attributes.length; i += 1) {
    const [location, data, size] = attributes[i];
    gl.bindBuffer(gl.ARRAY_BUFFER, batch.buffers[i]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW, 0, batch.vertices * size);
    gl.vertexAttribPointer(location, size, gl.FLOAT, false, 0, 0);
    gl.enableVertexAttribArray(location);
  }
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, batch.buffers[3]);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, batch.indices, gl.DYNAMIC_DRAW, 0, batch.corners);
  gl.uniform1f(shape.texturedLoc, batch.isTextured ? 1 : 0);
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, batch.texture);
  gl.bindSampler(0, shape.mainSampler);
  gl.uniform1i(shape.textureLoc, 0);
  gl.blendFunc(gl.SRC_ALPHA, batch.isAdditive ? gl.ONE : gl.ONE_MINUS_SRC_ALPHA);
  gl.drawElements(gl.TRIANGLES, batch.corners, gl.UNSIGNED_SHORT, 0);
  batch.vertices = 0;
  batch.corners = 0;
}

/** Changes butterchurn's custom shapes for the life of the page, given their class. */
export function drawInstancesTogether(CustomShape) {
  const { drawCustomShape, drawCustomShapeInstance } = CustomShape.prototype;

  CustomShape.prototype.drawCustomShape = function drawAll(...given) {
    const [, , , { baseVals }] = given;
    this.together = baseVals.enabled !== 0 && baseVals.num_inst > 1;
    drawCustomShape.apply(this, given);
    if (this.together) drawBatch(this.gl, this.gl.shapeBatch, this);
  };

  CustomShape.prototype.drawCustomShapeInstance = function drawLater(...given) {
    const [texture, sides, isTextured, hasBorder, , isAdditive] = given;
    if (!this.together) {
      drawCustomShapeInstance.apply(this, given);
      return;
    }
    const { gl } = this;
    const batch = (gl.shapeBatch ??= createBatch(gl));
    const differs = batch.isTextured !== isTextured || batch.isAdditive !== isAdditive || batch.texture !== texture;
    if (hasBorder || differs || batch.vertices + MOST_SIDES + 2 > MOST_VERTICES) drawBatch(gl, batch, this);
    if (hasBorder) {
      drawCustomShapeInstance.apply(this, given);
      return;
    }
    batch.isTextured = isTextured;
    batch.isAdditive = isAdditive;
    batch.texture = texture;
    append(batch, this, sides);
  };
}

// Calls of the WebGL context that would change nothing are not made.
//
// Belongs here: remembering what a context was told and dropping what it is told again, which is exact by
// construction. Does not belong here: anything that would draw something else.
//
// butterchurn sets every uniform, buffer, texture and sampler anew for each pass of each frame, most of them as they
// were. Each call is checked, sent to the GPU process, checked again and carried out; a buffer is copied three times.

const MAX_COMPARED = 1 << 16; // elements of an array; larger ones are passed on unread

function sameNumber(a, b) {
  return a === b && (a !== 0 || 1 / a === 1 / b); // -0 and 0 are two values; NaN is never the same
}

function sameArray(known, data, start, count) {
  for (let i = 0; i < count; i += 1) if (!sameNumber(known[i], data[start + i])) return false;
  return true;
}

function copyInto(known, data, start, count) {
  for (let i = 0; i < count; i += 1) known[i] = data[start + i];
}

function dropRepeatedUniforms(gl, state) {
  const locate = gl.getUniformLocation.bind(gl);
  gl.getUniformLocation = (program, name) => {
    const location = locate(program, name);
    if (location) location.program = program;
    return location;
  };
  for (const name of ["uniform1f", "uniform1i"]) {
    const set = gl[name].bind(gl);
    gl[name] = (location, given) => {
      if (location === null) return;
      const value = +given;
      // A location of another program than the one in use is an error that changes nothing: butterchurn makes it.
      const counts = location.program === state.program;
      if (counts && sameNumber(location.known, value)) return;
      if (counts) location.known = value;
      set(location, value);
    };
  }
  for (const name of ["uniform2fv", "uniform3fv", "uniform4fv"]) {
    const set = gl[name].bind(gl);
    gl[name] = (location, values, ...rest) => {
      if (location === null) return;
      if (location.program !== state.program || rest.length > 0) {
        set(location, values, ...rest);
        return;
      }
      const { known } = location;
      if (known && known.length === values.length && sameArray(known, values, 0, values.length)) return;
      location.known = new Array(values.length);
      copyInto(location.known, values, 0, values.length);
      set(location, values);
    };
  }
}

function dropRepeatedBuffers(gl, state) {
  const bind = gl.bindBuffer.bind(gl);
  gl.bindBuffer = (target, buffer) => {
    if (state.buffers[target] === buffer) return;
    state.buffers[target] = buffer;
    bind(target, buffer);
  };
  const fill = gl.bufferData.bind(gl);
  gl.bufferData = (target, data, usage, ...rest) => {
    const buffer = state.buffers[target];
    const comparable = buffer && rest.length === 0 && typeof data === "object" && data.length <= MAX_COMPARED;
    if (!comparable) {
      if (buffer) buffer.known = null;
      fill(target, data, usage, ...rest);
      return;
    }
    const { known } = buffer;
    const fits = known && buffer.usage === usage && known.length === data.length && known.type === data.constructor;
    if (fits && sameArray(known.values, data, 0, data.length)) return;
    if (!fits) buffer.known = { values: new data.constructor(data.length), length: data.length, type: data.constructor };
    buffer.usage = usage;
    copyInto(buffer.known.values, data, 0, data.length);
    fill(target, data, usage);
  };
  const change = gl.bufferSubData.bind(gl);
  gl.bufferSubData = (target, offset, data, start = 0, count = data.length - start) => {
    const known = state.buffers[target]?.known;
    const comparable = known && offset === 0 && known.type === data.constructor && count <= known.length;
    if (comparable && sameArray(known.values, data, start, count)) return;
    if (comparable) copyInto(known.values, data, start, count);
    else if (known) state.buffers[target].known = null;
    change(target, offset, data, start, count);
  };
  const point = gl.vertexAttribPointer.bind(gl);
  gl.vertexAttribPointer = (index, size, type, normalized, stride, offset) => {
    if (index < 0) return; // an attribute that the program does not use
    const buffer = state.buffers[gl.ARRAY_BUFFER];
    const known = state.pointers[index];
    const same =
      known?.buffer === buffer &&
      known.size === size &&
      known.type === type &&
      known.normalized === normalized &&
      known.stride === stride &&
      known.offset === offset;
    if (same) return;
    state.pointers[index] = { buffer, size, type, normalized, stride, offset };
    point(index, size, type, normalized, stride, offset);
  };
  const enable = gl.enableVertexAttribArray.bind(gl);
  gl.enableVertexAttribArray = (index) => {
    if (index < 0 || state.attributes[index]) return;
    state.attributes[index] = true;
    enable(index);
  };
  const disable = gl.disableVertexAttribArray.bind(gl);
  gl.disableVertexAttribArray = (index) => {
    state.attributes[index] = false;
    disable(index);
  };
}

function dropRepeatedBindings(gl, state) {
  const use = gl.useProgram.bind(gl);
  gl.useProgram = (program) => {
    if (state.program === program) return;
    state.program = program;
    use(program);
  };
  const activate = gl.activeTexture.bind(gl);
  gl.activeTexture = (unit) => {
    if (state.unit === unit) return;
    state.unit = unit;
    activate(unit);
  };
  const bindTexture = gl.bindTexture.bind(gl);
  gl.bindTexture = (target, texture) => {
    const bound = (state.textures[state.unit] ??= {});
    if (bound[target] === texture) return;
    bound[target] = texture;
    bindTexture(target, texture);
  };
  const bindSampler = gl.bindSampler.bind(gl);
  gl.bindSampler = (unit, sampler) => {
    if (state.samplers[unit] === sampler) return;
    state.samplers[unit] = sampler;
    bindSampler(unit, sampler);
  };
  const tune = gl.samplerParameteri.bind(gl);
  gl.samplerParameteri = (sampler, name, value) => {
    const known = (sampler.known ??= {});
    if (known[name] === value) return;
    known[name] = value;
    tune(sampler, name, value);
  };
  const blend = gl.blendFunc.bind(gl);
  gl.blendFunc = (source, destination) => {
    if (state.blendSource === source && state.blendDestination === destination) return;
    state.blendSource = source;
    state.blendDestination = destination;
    blend(source, destination);
  };
}

/** Makes a fresh WebGL 2 context drop calls that change nothing; nobody may have used it before. */
export function dropRepeatedCalls(gl) {
  const state = {
    program: null,
    unit: gl.TEXTURE0,
    buffers: {},
    pointers: [],
    attributes: [],
    textures: {},
    samplers: [],
    blendSource: undefined,
    blendDestination: undefined,
  };
  dropRepeatedUniforms(gl, state);
  dropRepeatedBuffers(gl, state);
  dropRepeatedBindings(gl, state);
}

// Programs that a preset does not draw with are not compiled.

/**
 * Compiles the programs of a class when an object of it first calls `use` (or when that returned true, with `after`):
 * of the thirty that a visualizer makes, a preset draws with ten.
 */
export function compileWhenUsed({ constructor: { prototype } }, use, makers, after = false) {
  const method = prototype[use];
  const makes = makers.map((name) => prototype[name]);
  for (const name of makers) prototype[name] = () => {};
  function compile(object) {
    if (object.compiled) return;
    object.compiled = true;
    for (let i = 0; i < makes.length; i += 1) makes[i].call(object);
  }
  prototype[use] = function compiledFirst(...args) {
    if (!after) compile(this);
    const result = method.apply(this, args);
    if (after && result) compile(this);
    return result;
  };
}

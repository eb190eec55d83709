// How deeply a text nests, counted before a parser that recurses sees it.
//
// Belongs here: an upper bound of a syntax tree's depth, and of how many parts stand side by side. Does not belong
// here: limits for a language's words (script.js), what to do about a text that is refused. The engine's compilers
// and the HLSL parser recurse; where their stack ends depends on what the browser had optimised by then, so the same
// preset would fail or not by what was rendered before it.

// Real presets reach 114 and 677; the shallowest stack ends between 900 and 1,500 calls of EEL within one another.
const MAX_DEPTH = 500;
const MAX_PARTS = 40000;

const TOKEN = /[()[\]{};,]|[-+*/%&|^~<>=!?:]+|\b(?:if|else|for|while|do)\b/g;

class Level {
  operators = 0; // of the expression in hand
  child = 0; // the deepest bracket in it
  chain = 0; // statements that hold the next one without a bracket: if (a) if (b) …
  held = 0; // the chain before the last ";" or "}", which an else goes on with
  deepest = 0; // of the expressions before

  endExpression() {
    this.deepest = Math.max(this.deepest, this.operators + this.child + this.chain);
    this.operators = 0;
    this.child = 0;
  }

  endStatement() {
    this.endExpression();
    this.held = this.chain;
    this.chain = 0;
  }

  /** One more keyword. */
  hold(word) {
    if (word === "else") this.chain = Math.max(this.chain, this.held);
    this.chain += 1;
  }
}

/**
 * {depth, parts} of a text without comments, in C's or EEL's grammar. `depth`: no syntax tree of it is deeper, every
 * operator taken for a level of its own. `parts`: statements and arguments.
 */
export function measureNesting(text) {
  const open = [];
  let level = new Level();
  let parts = 1;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "(" || token === "[" || token === "{") {
      open.push(level);
      level = new Level();
    } else if (token === ")" || token === "]" || token === "}") {
      level.endStatement();
      const inside = level.deepest + 1;
      level = open.pop() ?? new Level();
      level.child = Math.max(level.child, inside);
      if (token === "}") level.endStatement();
    } else if (token === ";" || token === ",") {
      parts += 1;
      if (token === ";") level.endStatement();
      else level.endExpression();
    } else if (token >= "a" && token <= "z") level.hold(token);
    else level.operators += token.length;
  }
  for (; open.length > 0; level = open.pop()) {
    level.endStatement();
    open[open.length - 1].child = Math.max(open[open.length - 1].child, level.deepest + 1);
  }
  level.endStatement();
  return { depth: level.deepest, parts };
}

/** Why `text` must not reach a parser, in words; "" when it may. `limit`: for parsers that take less. */
export function tooNested(text, limit = MAX_DEPTH) {
  const { depth, parts } = measureNesting(text);
  if (depth > limit) return `nested too deeply: ${depth} operators and brackets within one another, at most ${limit}`;
  return parts > MAX_PARTS ? `too long: ${parts} statements and arguments, at most ${MAX_PARTS}` : "";
}

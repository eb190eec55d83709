// Which styles fit what is heard, from `aivj-audio-style.v0.json`. No dependencies.

// {cluster: p}. `features`: the window features; `tier`: "calm", "groove" or "peak" of the music. What is missing or no
// finite number counts as average.
export function styleProbabilities(model, features, tier) {
  let values = scaled(model, features, tier);
  for (const { weights, bias, activation } of model.layers) {
    values = weights.map((row, out) => bias[out] + row.reduce((sum, weight, i) => sum + weight * values[i], 0));
    if (activation === "relu") values = values.map((value) => Math.max(value, 0));
  }
  let p;
  if (model.output === "sigmoid") {
    p = values.map((value) => 1 / (1 + Math.exp(-value)));
  } else {
    const largest = Math.max(...values);
    const powers = values.map((value) => Math.exp(value - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    p = powers.map((power) => power / total);
  }
  return Object.fromEntries(model.clusters.map((cluster, row) => [cluster, p[row]]));
}

// What is heard as a unit vector among the presets' embeddings; null where the model has no retrieval.
export function stylePlace(model, features, tier) {
  if (!model.retrieval) return null;
  const values = scaled(model, features, tier);
  const { matrix, bias } = model.retrieval;
  const place = matrix.map((row, out) => bias[out] + row.reduce((sum, weight, i) => sum + weight * values[i], 0));
  const length = Math.sqrt(place.reduce((sum, value) => sum + value * value, 0));
  return length > 0 ? place.map((value) => value / length) : place;
}

function scaled(model, features, tier) {
  return model.inputs.map((name, i) => {
    const value = name.startsWith("tier.") && tier ? Number(name === `tier.${tier}`) : features[name];
    if (typeof value !== "number" || !Number.isFinite(value)) return 0;
    return Math.min(Math.max((value - model.mean[i]) / model.scale[i], -model.clip), model.clip);
  });
}

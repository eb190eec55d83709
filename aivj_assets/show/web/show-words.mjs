// What the page says of a pick, in words.

const REASONS = {
  start: "The first pick.",
  phrase: "Its time was over and a phrase began.",
  bar: "Its time was over; no phrase came for half of the longest wait, a bar did.",
  beat: "It had waited as long as it may: changed on a beat.",
  wait: "It had waited as long as it may, and no beat came.",
  noBeat: "Its time was over, and there is no steady beat to wait for.",
  section: "The music came to a new section.",
  tier: "The music's energy changed.",
  skip: "Skipped.",
  failed: "The preset before could not be shown.",
};
const RULES = {
  clusterCooldown: "a style sooner again than agreed",
  tier: "a preset of another energy",
  presetCooldown: "a preset sooner again than agreed",
};

export function reasonText({ reason, favourite }) {
  return favourite ? `${REASONS[reason]} Taken from your favourites.` : REASONS[reason];
}

/** "" when all rules were kept. */
export function relaxedText({ relaxed }) {
  return relaxed.length
    ? `Nothing else was left, so a rule gave way: ${relaxed.map((rule) => RULES[rule]).join(", ")}.`
    : "";
}

/** "12", "3:07", "1:02:03" of seconds. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** A made id without pack and hash: what a person can read of it. */
export function shortName(presetId, pack) {
  const bare = presetId.startsWith(`${pack}-`) ? presetId.slice(pack.length + 1) : presetId;
  return bare.replace(/-[0-9a-f]{6}$/, "") || presetId;
}

/** How long the preset on screen stays at least, as a sentence, and how much of it is over (0..1). */
export function dwellText({ onScreenS, held, tier, selection }) {
  const least = selection.minDwellSeconds[tier];
  const over = `On screen for ${clock(onScreenS)}.`;
  if (held) return { text: `${over} Held until you release or skip it.`, fraction: 1 };
  if (onScreenS < least) {
    return { text: `${over} May change in ${Math.ceil(least - onScreenS)} s.`, fraction: onScreenS / least };
  }
  const wait = Math.max(0, least + selection.maxWaitSeconds[tier] - onScreenS);
  return { text: `${over} Changes with the music, at the latest in about ${Math.ceil(wait)} s.`, fraction: 1 };
}

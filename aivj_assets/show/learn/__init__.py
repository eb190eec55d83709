"""Learning from shows which styles fit what is heard: evidence, model, proof."""

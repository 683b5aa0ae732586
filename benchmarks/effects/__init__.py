"""The papers' effects, small: data with known answers, trainings of minutes, what came out beside the claim."""

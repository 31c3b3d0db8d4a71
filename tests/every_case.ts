// Whether a run leaves nothing out.

/** Set where a GPU runs the tests (bench/gpu/suites.sh): software takes minutes for what is else left out or drawn. */
export const EVERY_CASE = Deno.env.get("HYADES_TEST_EVERY_CASE") === "true";

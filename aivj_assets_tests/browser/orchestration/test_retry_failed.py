"""Which failed presets a later run renders again: those whose failure may pass, and all of them when it is asked to."""

from __future__ import annotations

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord, read_records, write_records


def test_failures_that_may_pass_are_tried_again_and_the_others_when_asked(copied) -> None:
    """A shader that does not compile will not compile tomorrow; a machine that was busy is no longer busy."""
    index = copied.batch("live").frames_index
    records = read_records(index)
    really_failed = {key for key, record in records.items() if isinstance(record, FailedRecord)}
    lasting, passing = [key for key, record in records.items() if isinstance(record, OkRecord)][:2]
    for key, reason in ((lasting, "shader-compile-failed"), (passing, "watchdog")):
        common = records[key].model_dump(include={"preset_id", "rel_path", "file_path", "preset_sha256", "fingerprint"})
        records[key] = FailedRecord(**common, at="2026-01-01T00:00:00.000Z", reasons=[reason], error_text="as it was")
    write_records(index, records.values())
    rendered_at = {key: record.at for key, record in records.items()}

    def rendered_again(*options: str) -> set[str]:
        # With a failure made up on top of a real one the batch may fall below its gate: rejected, but rendered.
        done = copied.run("live", "--only", "frames", *options)
        assert done.returncode == 0 or "Rejected: ok_rate" in done.stdout, done.stdout + done.stderr
        now = read_records(index)
        assert list(now) == list(rendered_at)
        again = {key for key, record in now.items() if record.at != rendered_at[key]}
        rendered_at.update((key, record.at) for key, record in now.items())
        return again

    assert rendered_again() == {passing}
    kept = read_records(index)[lasting]
    assert isinstance(kept, FailedRecord)
    assert kept.error_text == "as it was"
    assert rendered_again("--retry-failed") == {lasting} | really_failed
    now = read_records(index)
    assert {key for key, record in now.items() if isinstance(record, FailedRecord)} == really_failed

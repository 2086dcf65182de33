"""The tester in batches: the control arm's numbers (`exact`) or nearly them (`fast`), several times sooner.

`semseg_ref.tester` stays the reference; `folder.test_images` takes its place file for file.
"""

"""What a coordinator is built of is not walked by the garbage collector again and again."""

import gc

from cloud.serve import settle


def test_what_was_built_is_out_of_the_collectors_sight():
    built = [{} for _ in range(1000)]
    try:
        settle()
        assert gc.get_freeze_count() >= len(built)
    finally:
        gc.unfreeze()

import pytest

from tests.unit.cloud.training.private.crew import make_stores


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    made = make_stores(tmp_path_factory.mktemp("crew"))
    yield made
    for store in made.values():
        store.close()

import os

import pytest

from tests.postgres.helpers import open_temporary_folder

# Needs a Docker engine and an image; ci/docker brings both and names the image.
collect_ignore = [] if os.environ.get("PGFLOW_DOCKER_IMAGE") else ["test_docker.py"]


@pytest.fixture
def reachable():
    with open_temporary_folder() as folder:
        yield folder

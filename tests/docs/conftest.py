from tests.cli.conftest import call, python_as_before

__all__ = ["call", "python_as_before"]

"""The base of every record: a value that never changes and refuses what it does not know."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A value that never changes after it is made and refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

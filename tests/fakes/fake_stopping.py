"""Being asked to stop, at a step that a test chooses."""

from train.stopping import Stopping


class StopAfter(Stopping):
    """Asked to stop after so many steps."""

    def __init__(self, steps):
        self.steps = steps
        super().__init__()

    @property
    def is_asked(self):
        self.steps -= 1
        return self.steps <= 0

    @is_asked.setter
    def is_asked(self, _value):
        pass

"""The reader of logs that aa-logprof and aa-notify share (python3-apparmor), without what they do with it: both need
more of a machine than a log. A counterpart of `aa-monitor-bench time`: prints how many records there are and how many
it understands."""

import sys

from apparmor.common import AppArmorException
from apparmor.logparser import ReadLog


def main(path):
    reader = ReadLog(path, {}, "/nonexistent")
    records = understood = 0
    with open(path, encoding="utf-8", errors="surrogateescape") as log:
        for line in log:
            records += 1
            try:
                understood += reader.parse_event(line.strip()) is not None
            except AppArmorException:
                # It would end aa-logprof.
                pass
    print(records, understood)


main(sys.argv[1])

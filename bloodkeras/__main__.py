"""The command table: `python -m bloodkeras COMMAND`, or `bloodkeras COMMAND` once installed.

Flow: takes the command line; gives an exit status: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""

import sys

try:
    from bloodkeras.cli import answering, finding, judging, labelling, making
    from bloodkeras.cli.command_line import run
except KeyboardInterrupt:  # before there is anybody else to say it
    print("bloodkeras: stopped by Ctrl-C", file=sys.stderr)
    sys.exit(130)

COMMANDS = {
    command.__name__.replace("_", "-"): command
    for command in (
        making.data,
        making.gather,
        making.eda,
        making.train,
        judging.evaluate,
        judging.shifts,
        making.export,
        answering.predict,
        finding.find,
        finding.count,
        answering.score,
        answering.serve,
        answering.demo,
        judging.frames,
        labelling.label,
        labelling.agree,
        judging.judge,
        judging.calibrate,
        judging.benchmark,
        judging.report,
        making.seeds,
        making.tune,
        making.held_out,
        judging.compare,
        making.study,
    )
}


def main() -> None:
    """Run the command line and exit with its status."""
    run(COMMANDS)


if __name__ == "__main__":
    main()

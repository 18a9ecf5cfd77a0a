# Runs a pass of aa-logprof over a log, as its main program does, with the answers given: programs run under
# the profile that executes them, and everything else is allowed by the name that was seen (the last option).
# arguments: the folder of logprof.conf, the folder of profiles, the log
import sys

import apparmor.aa as aa
import apparmor.config
import apparmor.ui as ui


def answer(question, params=''):
    last = len(question.options or [0]) - 1
    for choice in ('CMD_SAVE_CHANGES', 'CMD_ix', 'CMD_ALLOW'):
        if choice in question.functions:
            return choice, 0 if choice == 'CMD_SAVE_CHANGES' else last
    sys.exit('an unexpected question: %s' % question.functions)


ui.PromptQuestion.promptUser = answer
ui.UI_Info = ui.UI_Important = lambda *_: None
# It looks for a parser on this machine, to load what it wrote: any program will do, for nothing is loaded.
apparmor.config.Config.find_first_file = lambda *_: sys.executable
aa.reload_base = lambda *_: None

configuration, profiles, log = sys.argv[1:]
aa.init_aa(confdir=configuration, profiledir=profiles)
aa.set_logfile(log)
aa.loadincludes()
aa.read_profiles(True)
aa.do_logprof_pass()

"""For each directory given: which of its packages libsolv can install alone, one line of JSON a directory."""
import json, sys, tempfile, warnings
warnings.simplefilter("ignore")
import hawkey

for directory in sys.argv[1:]:
    with tempfile.TemporaryDirectory() as cache:
        sack = hawkey.Sack(cachedir=cache, arch="x86_64")
        repo = hawkey.Repo("r")
        repo.repomd_fn = directory + "/repodata/repomd.xml"
        repo.primary_fn = directory + "/repodata/primary.xml"
        sack.load_repo(repo, build_cache=False)
        answers = {}
        for package in hawkey.Query(sack):
            goal = hawkey.Goal(sack)
            goal.install(package)
            good = goal.run(ignore_weak=True)
            answers[str(package)] = [] if good else [text for rule in goal.problem_rules() for text in rule]
        print(json.dumps(answers))

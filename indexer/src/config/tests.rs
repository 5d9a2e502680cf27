use super::*;

const FULL: &str = r#"
store = "/srv/cfs"

[view.production]
owner = 10004
group = 10005
gates = ["repodata", "names"]
max-deletes = 5
who-may = { users = ["releng"], groups = ["10005"] }

[[view.production.lists]]
directory = "pub/rocky"
name = "rocky"
aliases = ["fullfiletimelist"]
previous = "fullfiletimelist-rocky-old"

[view."staging"]

[promotion.stage-9]
message = "the day's updates"
keep = true
protect = [".treeinfo", "images"]
from = ["compose/9/latest-Rocky-9:compose", "compose/9/latest-Extras-9:compose"]
to = "staging:pub/rocky/9.7-RC2"
links = { "staging:pub/rocky/latest-9" = "9.7-RC2" }

[promotion.all]
step = [ { from = "staging:pub/rocky/9.7-RC2", to = "production:pub/rocky/9.7" } ]

[hook.announce]
when = "post-promote"
command = ["/usr/bin/true"]
views = ["production"]
"#;

#[test]
fn a_whole_configuration_is_read() {
    let config = parse(FULL).unwrap();
    let production = config.view(&"production".parse().unwrap());
    assert_eq!((production.owner, production.group), (Some(10_004), Some(10_005)));
    assert_eq!(production.gates(), [Gate::Names, Gate::Repodata], "in the order of checking");
    assert_eq!((production.max_deletes(), production.max_deletes_percent()), (5, 10));
    let lists = &production.lists[0];
    assert_eq!(lists.timelist.as_str(), "fullfiletimelist-rocky");
    let own: Vec<String> = lists.own_names().iter().map(ToString::to_string).collect();
    let expected = [
        "fullfilelist",
        "fullfiletimelist",
        "fullfiletimelist-rocky",
        "fullfiletimelist-rocky-old",
        "imagelist-rocky",
    ];
    assert_eq!(own, expected);
    let staging = config.view(&"staging".parse().unwrap());
    assert_eq!(
        staging.gates().len(),
        Gate::ALL.len() - 3,
        "no keys, no signatures; nothing that must be closed"
    );
    assert_eq!(config.view(&"compose/9/x".parse().unwrap()), View::unconfigured());
    let steps = config.promotions["stage-9"].steps();
    assert_eq!((steps.len(), steps[0].from.0.len(), steps[0].keep), (1, 2, true));
    assert_eq!(config.promotions["all"].steps()[0].to.to_string(), "production:pub/rocky/9.7");
    assert_eq!(config.hooks["announce"].timeout().as_secs(), 60);
}

#[test]
fn errors_say_the_line_and_what_was_meant() {
    for (text, line, message, suggestion) in [
        ("\n[view.production]\ngrup = 3\n", 3, "unknown field `grup`", Some("group")),
        ("[view.x]\ngates = [\n \"repodta\"]\n", 3, "unknown variant `repodta`", Some("repodata")),
        ("stroe = \"x\"\n", 1, "unknown field `stroe`", Some("store")),
        ("xyzzy = 1\n", 1, "unknown field `xyzzy`", None),
        ("[view.\"a b\"]\n", 1, "white space", None),
        ("\n[promotion.p]\nfrom = \"x\"\n", 2, "lacks `to`", None),
        ("[promotion.p]\nfrom = \"x\"\nto = \"y\"\nstep = [{from = \"a\", to = \"b\"}]\n", 1, "beside", None),
        ("[promotion.p]\nfrom = []\nto = \"y\"\n", 2, "empty", None),
        ("[hook.h]\nwhen = \"sign\"\ncommand = []\n", 1, "empty `command`", None),
        ("[release.9]\nproductmd = \"2.1\"\n", 2, "unknown variant `2.1`", Some("2.0")),
        ("[release.9]\nbase-ulr = \"\"\n", 2, "unknown field `base-ulr`", Some("base-url")),
        (
            "[view.x]\n[[view.x.closure]]\nrepositories = [\"a\"]\narch = [\"x86_64\",\n\"arch64\"]\n",
            5,
            "view x has the architecture \"arch64\", which is unknown",
            Some("aarch64"),
        ),
        ("[view.x\n", 1, "", None),
        ("[[view.x.lists]]\ndirectory = \"a\"\nname = \"a b\"\n", 1, "white space", None),
        ("[[view.x.lists]]\ndirectory = \"../a\"\nname = \"a\"\n", 1, "relative", None),
        (
            "[[view.x.lists]]\ndirectory = \"a\"\nname = \"a\"\naliases = [\"fullfilelist\"]\n",
            1,
            "one name",
            None,
        ),
        (
            "\n[[view.x.lists]]\ndirectory = \"a\"\nname = \"a\"\n[[view.x.lists]]\ndirectory = \"a/\"\nname = \"b\"\n",
            5,
            "twice",
            None,
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.suggestion.as_deref()), (line, suggestion), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
    }
}

#[test]
fn documents_have_a_version_and_may_say_where_files_will_be() {
    let release = |more: &str| {
        let text = "[release.9]\nname = \"R\"\nshort = \"R\"\nversion = \"9\"\narches = [\"x86_64\"]\n";
        let upstream = "[release.9.upstream]\nurl = \"/srv/$repo\"\nrepositories = [\"B\"]\n";
        parse(&format!("{text}{more}\n{upstream}"))
    };
    let version = |more: &str| release(more).unwrap().releases["9"].productmd.word();
    assert_eq!((version(""), version("productmd = \"2.0\"")), ("1.2", "2.0"));
    let url = "https://example.org/$major/$compose/compose/";
    let config = release(&format!("productmd = \"2.0\"\nbase-url = \"{url}\"")).unwrap();
    assert_eq!(config.releases["9"].base_url.as_deref(), Some(url));
    for (more, message) in [
        (format!("base-url = \"{url}\""), "is for `productmd = \"2.0\"` only"),
        (format!("productmd = \"1.2\"\nbase-url = \"{url}\""), "is for `productmd = \"2.0\"` only"),
        ("productmd = \"2.0\"\nbase-url = \"pub/rocky\"".to_owned(), "has the `base-url` \"pub/rocky\""),
        ("productmd = \"2.0\"\nbase-url = \"https://a/b?c\"".to_owned(), "such as \"https://"),
        ("productmd = 2.0".to_owned(), "expected \"1.2\" or \"2.0\", in quotation marks"),
    ] {
        let error = release(&more).unwrap_err();
        assert!(error.message.contains(message), "{more}: {error}");
    }
}

#[test]
fn a_span_of_time_is_read_as_it_is_written() {
    for (text, seconds) in
        [("0", 0), ("10s", 10), ("30m", 1800), ("24h", 86_400), ("90d", 7_776_000), ("2w", 1_209_600)]
    {
        let age: Age = text.parse().unwrap();
        assert_eq!(age.seconds, seconds, "{text}");
        assert_eq!(age.to_string().parse::<Age>().unwrap(), age, "{text}");
    }
    for text in ["", "d", "-1d", "+1d", "1", "1.5h", "1 h", "1y", "50000w", "1é"] {
        assert!(text.parse::<Age>().is_err(), "{text}");
    }
    let config = parse("[gc]\nkeep = \"30d\"\ngenerations = 3\n").unwrap();
    assert_eq!((config.gc.keep, config.gc.generations), ("30d".parse().ok(), Some(3)));
    assert_eq!(parse("[gc]\nkeep = \"ever\"\n").unwrap_err().line, 2);
}

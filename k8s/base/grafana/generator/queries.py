"""What many panels have in common: queries, colours, texts for values."""

R = "[$__rate_interval]"
GOOD, FAIR, BAD = "green", "orange", "red"


def values(**named):
    """Texts and colours for values: _0=("closed", GOOD)."""
    options = {
        key.lstrip("_"): {"text": text, "color": color, "index": index} for index, (key, (text, color)) in enumerate(named.items())
    }
    return [{"type": "value", "options": options}]


def quantiles(metric, by="", where="", shares=(0.5, 0.99), legend=""):
    """Queries for quantiles of a histogram."""
    group = f"le, {by}" if by else "le"
    select = f"$sel, {where}" if where else "$sel"
    return [
        (f"histogram_quantile({share}, sum by ({group}) (rate({metric}_bucket{{{select}}}{R})))", f"p{share * 100:g} {legend}".strip())
        for share in shares
    ]


def rate(metric, by, where=""):
    """A rate by labels."""
    select = f"$sel, {where}" if where else "$sel"
    return f"sum by ({by}) (rate({metric}{{{select}}}{R}))"


def total(metric, where=""):
    """A rate of everything."""
    select = f"$sel, {where}" if where else "$sel"
    return f"sum(rate({metric}{{{select}}}{R}))"


HITS = 'outcome=~"near_hit|hit|stale|negative"'
STALE = 'outcome="stale"'
REFUSED = 'result=~"refused|epoch_changed"'
TIMEOUT = 'outcome="timeout"'
FAULT = 'status=~"5.."'
UP = values(_0=("no", BAD), _1=("yes", GOOD))
BREAKER = values(_0=("closed", GOOD), _1=("half-open", FAIR), _2=("open", BAD))
ZERO_IS_GOOD = ((None, GOOD), (0.001, BAD))

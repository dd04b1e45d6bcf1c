"""Which entry `--api NAME --provider NAME` means: what was measured here first, then what was published."""

from __future__ import annotations

from collections.abc import Sequence

from estimator.api.file import ApiEntry
from estimator.errors import EstimatorError, UnknownName
from estimator.nearest import did_you_mean


def find_entry(entries: Sequence[ApiEntry], model: str, provider: str | None) -> ApiEntry:
    """The entry that the words mean: a name, or PROVIDER:NAME. Raises UnknownName with the nearest known names.

    Local entries hide published ones of the same model unless `provider` says otherwise; raises EstimatorError
    where several providers are left.
    """
    named = [entry for entry in entries if model.lower() in _names(entry)]
    prefix, _, rest = model.partition(":")
    if not named and rest and prefix.lower() in {entry.provider for entry in entries}:
        if provider is not None and provider.lower() != prefix.lower():
            raise EstimatorError(f"{model} names the provider {prefix}, --provider {provider}: leave out one of them")
        return find_entry(entries, rest, prefix)
    if not named:
        known = sorted({name for entry in entries for name in _names(entry)})
        raise UnknownName(
            f"unknown API model {model!r}{did_you_mean(model, known)}; `python -m estimator models --api` shows all, "
            f"`python -m harness run --backend openai --model {model}` then `python -m calibration fit` "
            "adds one; --base-url is for other providers"
        )
    providers = sorted({entry.provider for entry in named})
    if provider is not None and provider.lower() not in providers:
        raise UnknownName(
            f"no figures of {model} at {provider!r}{did_you_mean(provider, providers)}; known: {', '.join(providers)}"
        )
    found = [entry for entry in named if provider is None or entry.provider == provider.lower()]
    best = [entry for entry in found if entry.basis == "measured"] or found
    if len({entry.provider for entry in best}) > 1:
        names = ", ".join(sorted({entry.provider for entry in best}))
        raise EstimatorError(f"{model} is known at {names}: say which with --provider")
    # Of several models of one name at one provider the one that is called just so, else the latest.
    exact = [entry for entry in best if entry.model.lower() == model.lower()]
    return max(exact or best, key=lambda entry: entry.last_day)


def _names(entry: ApiEntry) -> set[str]:
    return {entry.model.lower(), *(name.lower() for name in entry.names)}

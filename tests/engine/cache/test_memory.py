"""The memory cache holds what was used last, within its budget."""

from __future__ import annotations

from latentloom.engine.cache.memory import Entry, MemoryCache, size_of


def entry(nbytes: int = 10) -> Entry:
    return Entry((nbytes,), nbytes)


def test_an_entry_is_found_by_each_key_that_led_to_it() -> None:
    cache, cached = MemoryCache(100), entry()
    cache.put("inputs", "key", cached)
    assert cache.by_input_key("inputs", "other") is cached
    assert cache.by_key("key") is cache.by_key("other") is cached


def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(20)
    cache.put("a", "ka", entry())
    cache.put("b", "kb", entry())
    cache.touch("ka")
    cache.put("c", "kc", entry())
    assert cache.by_key("kb") is None
    assert cache.by_key("ka") is not None


def test_the_budget_is_never_exceeded() -> None:
    cache = MemoryCache(25)
    for index in range(10):
        cache.put(f"t{index}", f"k{index}", entry(10))
    assert cache.nbytes <= 25
    assert len(cache) == 2


def test_an_entry_larger_than_the_budget_is_not_cached() -> None:
    cache = MemoryCache(5)
    cache.put("a", "ka", entry(10))
    assert cache.by_key("ka") is None


def test_putting_twice_counts_once() -> None:
    cache = MemoryCache(100)
    cache.put("a", "ka", entry(10))
    cache.put("a", "ka", entry(12))
    assert cache.nbytes == 12


def test_a_dropped_key_leaves_the_entry_to_the_others() -> None:
    cache = MemoryCache(100)
    cache.put("a", "ka", entry(10))
    cache.by_input_key("a", "other")
    cache.drop("ka")
    assert (cache.by_key("ka"), cache.by_key("other")) == (None, entry(10))
    cache.drop("other")
    cache.drop("unknown")
    assert (len(cache), cache.nbytes) == (0, 0)


def test_sizes_add_up() -> None:
    class Tensor:
        nbytes = 1000

    assert size_of((Tensor(), Tensor())) >= 2000
    assert size_of({"a": [Tensor()]}) >= 1000


def test_a_digest_is_none_for_a_type_without_fingerprint() -> None:
    assert Entry((object(),), 0).digest(0) is None
    assert Entry((5,), 0).digest(0) is not None

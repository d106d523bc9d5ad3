"""``MonitoringConfig``: the configuration of the framework's guide, out of a dict, a file, the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from multiagents_otel.config import files
from multiagents_otel.config.option import INSTRUMENTATION, Alias, Option, OptionError
from multiagents_otel.config.options import NAMES
from multiagents_otel.config.sections import MONITORING
from multiagents_otel.config.sources import (
    DEFAULT,
    FRAMEWORK_PREFIX,
    Given,
    Layer,
    Setting,
    file_of_environment,
    misspelt,
    of_environment,
    parsed,
    settle,
    short,
    tell,
)
from multiagents_otel.config.values import plain

CONFIG_FILE: Final = "OTEL_CONFIG_FILE"


class Section:
    """The options of one section, by attributes: each has the value that holds, under every name it has."""

    def __init__(self, name: str, settings: dict[str, Setting]) -> None:
        self.__dict__.update(_name=name, _settings=settings)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # while it is copied or unpickled
            raise AttributeError(key)
        option, alias = self._named(key)
        return alias.show(self._settings[option.path].value)

    def __setattr__(self, key: str, value: Any) -> None:
        option, alias = self._named(key)
        given = Given(self._name, key, value, f"{self._name}.{key}")
        self._settings[option.path] = Setting(parsed(option, alias, given), given.source)

    def _named(self, key: str) -> tuple[Option, Alias]:
        if key.startswith("_") or (named := NAMES.keys.get((self._name, key))) is None:
            close = get_close_matches(key, NAMES.of(self.__dict__.get("_name", "")), n=1)
            raise AttributeError(f"no option {key!r}" + (f": did you mean {close[0]!r}?" if close else ""))
        return named

    def __dir__(self) -> Iterable[str]:
        return NAMES.of(self._name)

    def __repr__(self) -> str:
        return f"Section({', '.join(f'{key}={getattr(self, key)!r}' for key in NAMES.of(self._name))})"


class MonitoringConfig:
    """What monitors, logging and the instrumentation are to do.

    Sections and options are those of the framework's guide and of its own ``MonitoringConfig``, under either name,
    and every option of the instrumentation, in ``instrumentation`` or where the guide has it. A section is an
    attribute, an option an attribute of its section: ``config.event_monitoring.trace_retention_hours``.

    An option has the value that it was given here, else in the environment
    (``MULTIAGENTS_OTEL_EVENT_MONITORING_TRACE_RETENTION_HOURS``, then the framework's ``MULTIAGENT_*``), else in the
    file, else its default.

    Args:
        config: a dict of sections, each of them a dict or the framework's dataclass; it is not changed.
        logging: a section, beside those in ``config``; so are the others.
        event_monitoring: a section.
        worker_monitoring: a section.
        metrics_collection: a section.
        metrics: the framework's name of ``metrics_collection``.
        **sections: any other.

    Raises:
        OptionError: an unknown name or a wrong value. One in the environment is logged, and the default holds.
    """

    logging: Section
    event_monitoring: Section
    worker_monitoring: Section
    metrics_collection: Section
    metrics: Section
    instrumentation: Section

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(
        self,
        config: Any = None,
        /,
        *,
        logging: Any = None,
        event_monitoring: Any = None,
        worker_monitoring: Any = None,
        metrics_collection: Any = None,
        metrics: Any = None,
        **sections: Any,
    ) -> None:
        sections |= {
            "logging": logging,
            "event_monitoring": event_monitoring,
            "worker_monitoring": worker_monitoring,
            "metrics_collection": metrics_collection,
            "metrics": metrics,
        }
        given = [*given_in(config), *given_in(sections)]
        self._settle([Layer(given, strict=True), *of_environment(NAMES, os.environ)])

    def _settle(self, layers: Iterable[Layer]) -> None:
        self._settings = settle(NAMES, layers)
        for section in NAMES.sections:
            setattr(self, section, Section(section, self._settings))

    @classmethod
    def _of(cls, layers: Iterable[Layer]) -> MonitoringConfig:
        config = cls.__new__(cls)
        config._settle(layers)
        return config

    def _above(self, layer: Layer) -> MonitoringConfig:
        """The same, but for what a layer says where it has defaults."""
        config = self._of([layer])
        config._settings.update({path: own for path, own in self._settings.items() if own.source != DEFAULT})
        return config

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> MonitoringConfig:
        """The same as to call it with a dict."""
        return cls(config_dict)

    @classmethod
    def from_file(cls, config_path: str | os.PathLike[str]) -> MonitoringConfig:
        """Read a YAML or JSON file.

        Raises:
            OSError: it can't be read.
            OptionError: it is no configuration; the message has the line.
        """
        return cls._of([*of_environment(NAMES, os.environ), Layer(files.read(Path(config_path)), strict=True)])

    @classmethod
    def from_env(cls, prefix: str = FRAMEWORK_PREFIX) -> MonitoringConfig:
        """Read the environment alone; ``prefix`` is the framework's."""
        return cls._of(of_environment(NAMES, os.environ, prefix))

    def options_of(self, section: str) -> dict[str, Any]:
        """The options of a section, each by its own name."""
        return {option.name: self._settings[option.path].value for option in NAMES.options if option.section == section}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Every option but hooks, once, under its section; to be written as YAML or JSON."""
        found: dict[str, dict[str, Any]] = {}
        for option in NAMES.options:
            if option.env:
                found.setdefault(option.section, {})[option.name] = plain(self._settings[option.path].value)
        return found

    def save_to_file(self, config_path: str | os.PathLike[str]) -> None:
        """Write a file that :meth:`from_file` reads, YAML or JSON by its suffix; its folder is made.

        Raises:
            OptionError: another suffix.
            OSError: it can't be written.
        """
        path = Path(config_path)
        files.check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.text_of(self.to_dict(), path.suffix), encoding="utf-8")

    def create_logger(self) -> Any:
        """The logger that ``logging`` tells of, an ``ILogger`` of the framework's."""
        from multiagents_otel.logs import create_logger  # what is only configured needs no loggers

        return create_logger(self.logging)

    def settings(self) -> Mapping[str, Setting]:
        """Value and source of each option, by its path: ``event_monitoring.enabled``."""
        return dict(self._settings)

    def is_given(self, section: str) -> bool:
        """Whether anything of a section is not merely the default."""
        of_section = (option.path for option in MONITORING if option.section == section)
        return any(self._settings[path].source != DEFAULT for path in of_section)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MonitoringConfig) and self._values() == other._values()

    def _values(self) -> dict[str, Any]:
        return {path: setting.value for path, setting in self._settings.items()}

    def __repr__(self) -> str:
        given = (f"{path}={setting.value!r}" for path, setting in self._settings.items() if setting.source != DEFAULT)
        return f"MonitoringConfig({', '.join(given)})"


Configuration: TypeAlias = MonitoringConfig | Mapping[str, Any] | str | os.PathLike[str]
"""What can be given for a configuration: itself, a dict of sections, or a file."""


def configuration_in_force(
    config: Configuration | None = None, declared: Mapping[str, Any] | None = None
) -> MonitoringConfig:
    """The configuration of this process.

    Args:
        config: what was asked for: a configuration, a dict of sections, or a file. Without it the file that the
            variable ``MULTIAGENTS_OTEL_CONFIG`` names is read, if there is one.
        declared: what ``OTEL_CONFIG_FILE`` has for us: options of the instrumentation, and sections. All else wins.

    Raises:
        OptionError, OSError: ``config`` is wrong. What is wrong anywhere else is logged once.
    """
    for error in misspelt(NAMES, os.environ):
        tell(error)
    if config is None:
        config = MonitoringConfig._of([*of_environment(NAMES, os.environ), _environments_file()])
    elif isinstance(config, (str, os.PathLike)):
        config = MonitoringConfig.from_file(config)
    elif not isinstance(config, MonitoringConfig):
        config = MonitoringConfig(config)
    return config if declared is None else config._above(_declared(declared))


def _environments_file() -> Layer:
    if named := file_of_environment():
        variable, path = named
        try:
            return Layer(files.read(path))
        except (OptionError, OSError) as exception:
            tell(f"{variable} can't be used, the defaults hold: {exception}")
    return Layer([])


def _declared(options: Mapping[str, Any]) -> Layer:
    sections = {name: content for name, content in options.items() if name in NAMES.sections}
    given = [given._replace(place=CONFIG_FILE) for given in given_in(sections)]
    others = options.keys() - sections.keys()
    return Layer([*given, *(Given(INSTRUMENTATION, name, options[name], name, CONFIG_FILE) for name in others)])


def given_in(config: object) -> list[Given]:
    """What a mapping of sections says, each of them a mapping or a dataclass."""
    if config is None:
        return []
    items = _items(config)
    if items is None:
        raise OptionError(
            f"a configuration must be a mapping of sections, not {short(config)}; "
            "MonitoringConfig.from_file() reads a file"
        )
    return files.of_entries((section, 0, _entries(content)) for section, content in items)


def _entries(content: object) -> Any:
    items = _items(content)
    return content if items is None else files.Entries((key, 0, value) for key, value in items)


def _items(thing: object) -> Iterable[tuple[Any, Any]] | None:
    if isinstance(thing, MonitoringConfig):
        thing = thing.to_dict()
    if isinstance(thing, Section):
        return [(key, getattr(thing, key)) for key in dir(thing)]
    if isinstance(thing, Mapping):
        return list(thing.items())
    if is_dataclass(thing) and not isinstance(thing, type):
        return [(field.name, getattr(thing, field.name)) for field in fields(thing)]
    return None

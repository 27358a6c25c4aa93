"""The main job: train, analyse, validate, draw, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._errors import InputError
from .._validation import check_choice
from ..analysis import (
    DEFAULT_RECIPES,
    INTERFERENCE,
    QUANTITIES,
    FailureSign,
    NetworkAnalysis,
    check_thresholds,
    failure_signs,
)
from ..results import Estimate, ValidationReport
from ..spectral import PUBLISHED_RECIPES, RECIPES
from ..store import RunFile
from .analyze import analyze
from .build import check_analysis_numbers
from .config import (
    AnalysisSettings,
    RunSettings,
    SignSettings,
    analysis_settings,
    override,
    sign_settings,
)
from .progress import Progress, Silent
from .train import train_to_file
from .validate import validate_run

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class RunOutcome:
    """What a run found, and where it is.

    Attributes
    ----------
    run_file, report : Path
        The run file, and the report made of it.
    figures : tuple of Path
        The figures.
    title : str
        Which network on which task.
    accuracy_meaning : str
        What the task counts as accuracy.
    analyses : tuple of NetworkAnalysis
        One for each checkpoint that was analysed.
    validation : ValidationReport
        The checks made on the last checkpoint.
    signs : tuple of FailureSign
        Numbers that tell of failed learning where they lie beyond their thresholds.
    """

    run_file: Path
    report: Path
    figures: tuple[Path, ...]
    title: str
    accuracy_meaning: str
    analyses: tuple[NetworkAnalysis, ...]
    validation: ValidationReport
    signs: tuple[FailureSign, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every validation check passed."""
        return self.validation.passed

    def summary(self) -> str:
        """Return the short table that the command line prints."""
        lines = [self.title, "", *_rank_table(self.analyses)]
        n_passed = sum(check.passed for check in self.validation.checks)
        lines += [
            "",
            "Effective ranks: participation ratio (sum w)^2 / sum w^2 of the eigenvalues w; for P, "
            "those of P P*.",
            f"Accuracy: {self.accuracy_meaning}.",
            f"Validation: {n_passed} of {len(self.validation.checks)} checks passed.",
            *(f"Sign: {sign}." for sign in self.signs),
            "",
            f"run file  {self.run_file}",
            f"figures   {self.figures[0].parent}" if self.figures else "figures   none",
            f"report    {self.report}",
        ]
        return "\n".join(lines)


def _rank_table(analyses: Sequence[NetworkAnalysis]) -> list[str]:
    """Return a header and a line for each analysis, in columns."""
    kernels = [_kernel_text(analysis.rank("NTK")) for analysis in analyses]
    lines = [
        f"{'iteration':>9}  {'evaluation loss':>15}  {'accuracy':>8}  {'rank K':>8}  "
        f"{'rank P':>8}  rank NTK"
    ]
    lines += [
        f"{analysis.iteration:>9}  {analysis.evaluation_loss:>15.2e}  {analysis.accuracy:>8.2f}  "
        f"{analysis.rank('K').value:>8.2f}  {analysis.rank('P').value:>8.1f}  {kernel}"
        for analysis, kernel in zip(analyses, kernels, strict=True)
    ]
    return lines


def _kernel_text(rank: Estimate) -> str:
    if rank.upper <= rank.lower:
        return f"{rank.value:.2f}"
    likely = "" if rank.is_certified else f" ({100 * rank.confidence:.3g} %)"
    return f"{rank.value:.2f} in [{rank.lower:.2f}, {rank.upper:.2f}]{likely}"


def run(
    settings: RunSettings,
    path: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunOutcome:
    """Train a network, analyse its checkpoints, validate it, and write figures and a report.

    Parameters
    ----------
    settings : RunSettings
        What to train, and what to measure.
    path : str or Path
        The run file. Figures and report go to the directory of the same name without suffix.
    overwrite : bool
        Replace an existing run file, its figures and report.
    resume : bool
        Continue an existing run although the number of iterations or the analysis differ.
    progress : Progress, optional
        Shows how far the run is.

    Returns
    -------
    RunOutcome

    Raises
    ------
    InputError
        If the file exists with other settings, or a setting cannot be used.
    TrainingDiverged
        If training diverges; what was committed is kept.
    """
    check_analysis(settings.analysis)
    check_thresholds(asdict(settings.signs))
    train_to_file(settings, path, overwrite=overwrite, resume=resume, progress=progress)
    return complete(
        path,
        settings.analysis,
        signs=settings.signs,
        overwrite=overwrite or resume,
        progress=progress,
    )


def complete(
    path: str | Path,
    settings: AnalysisSettings,
    *,
    signs: SignSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunOutcome:
    """Analyse and validate the network of a run file, and write figures and a report.

    What is there already is kept, unless it is to be replaced.

    Parameters
    ----------
    path : str or Path
        The run file.
    settings : AnalysisSettings
        What to measure.
    signs : SignSettings, optional
        Where the signs of failed learning begin; as in the file by default.
    overwrite : bool
        Replace earlier analyses, figures and report.
    progress : Progress, optional
        Shows how far the work is.

    Returns
    -------
    RunOutcome

    Raises
    ------
    InputError
        If the file has an analysis with other settings and `overwrite` is False.
    """
    from ..plotting import save_figures
    from .report import write_report

    check_analysis(settings)
    if signs is not None:
        check_thresholds(asdict(signs))
    path = Path(path)
    shown = Silent() if progress is None else progress
    with RunFile.open(path) as file:
        is_analysed = has_whole_analysis(file)
        validation = file.validation
        config = file.config
    stored = analysis_settings(config, str(path))
    if is_analysed and stored != settings and not overwrite:
        raise InputError(
            f"{path} has been analysed already, with other settings: {stored}. Replace that "
            "analysis with --overwrite, or leave the settings of the analysis out to keep it."
        )
    if overwrite or not is_analysed:
        with RunFile.open(path, "r+") as file:
            file.write_config({**config, "analysis": asdict(settings)})
        analyze_as(path, settings, progress=shown)
    if overwrite or not is_analysed or validation is None:
        with shown.stage("validation", 1) as stage:
            validation = validate_run(path)
            stage.advance(note="passed" if validation.passed else "FAILED")
    _look_for_signs(path, sign_settings(config, str(path)) if signs is None else signs)
    directory = path.with_suffix("")
    report = directory / "report.html"
    with shown.stage("figures", 2) as stage:
        with RunFile.open(path) as file:
            figures = save_figures(file, directory / "figures")
        stage.advance()
        write_report(report, run=path)
        stage.advance()
    with RunFile.open(path) as file:
        return RunOutcome(
            run_file=path,
            report=report,
            figures=tuple(figures),
            title=f"{file.cell!r} on {file.task.name}",
            accuracy_meaning=file.task.accuracy_meaning,
            analyses=tuple(file.analyses),
            validation=validation,
            signs=file.signs,
        )


def _look_for_signs(path: Path, settings: SignSettings) -> None:
    """Keep the signs of the analyses of a run file, unless it holds the same already."""
    with RunFile.open(path) as file:
        found = failure_signs(file, asdict(settings))
        config = {**file.config, "signs": asdict(settings)}
        # Compared as words, in which numbers that are not known are equal.
        if repr(found) == repr(file.signs) and config == file.config:
            return
    with RunFile.open(path, "r+") as file:
        file.write_config(config)
        file.write_signs(found)


def analyze_as(
    path: str | Path, settings: AnalysisSettings, *, progress: Progress | None = None
) -> None:
    """Analyse the checkpoints of a run file as the settings say, in place of earlier analyses."""
    analyze(
        path,
        n_checkpoints=settings.n_checkpoints,
        n_trials=settings.n_trials,
        recipes=recipes_of(settings),
        quantities=settings.quantities,
        interference=settings.interference,
        n_eigenpairs=settings.n_eigenpairs,
        max_memory=int(settings.max_memory_gib * 2**30),
        progress=progress,
    )


def recipes_of(settings: AnalysisSettings) -> Mapping[str, Sequence[str]]:
    """Return the recipes for each operator that the settings mean.

    The participation ratio is always among them, as figures and tables compare by it.

    Raises
    ------
    InputError
        If there is no such recipe.
    """
    if not settings.recipes:
        return DEFAULT_RECIPES
    for recipe in settings.recipes:
        check_choice(recipe, "analysis.recipes", (*RECIPES, *PUBLISHED_RECIPES))
    wanted = dict.fromkeys(("participation-ratio", *settings.recipes))
    return dict.fromkeys(DEFAULT_RECIPES, tuple(wanted))


def check_analysis(settings: AnalysisSettings) -> None:
    """Refuse numbers and names that the analysis would refuse after training."""
    check_analysis_numbers(settings)
    recipes_of(settings)
    for quantity in settings.quantities:
        check_choice(quantity, "analysis.quantities", QUANTITIES)
    check_choice(settings.interference, "analysis.interference", INTERFERENCE)


def wanted_analysis(path: str | Path, given: Mapping[str, Any]) -> AnalysisSettings:
    """Return the analysis settings of a run file, with those of `given` put in their place.

    Parameters
    ----------
    path : str or Path
        The run file.
    given : mapping
        Dotted keys such as ``analysis.n_trials``.
    """
    with RunFile.open(path) as file:
        return analysis_settings(override(file.config, given), str(path))


def wanted_signs(path: str | Path, given: Mapping[str, Any]) -> SignSettings:
    """Return the thresholds of a run file's signs, with those of `given` put in their place."""
    with RunFile.open(path) as file:
        return sign_settings(override(file.config, given), str(path))


def write_figures(
    path: str | Path, directory: str | Path | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Draw the figures of an analysed run.

    Parameters
    ----------
    path : str or Path
        The run file.
    directory : str or Path, optional
        Where they go; by default ``figures`` in the directory of the run file's name.
    overwrite : bool
        Replace figures that are there.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the run has not been analysed, or there are figures already.
    """
    from ..plotting import save_figures

    directory = Path(path).with_suffix("") / "figures" if directory is None else Path(directory)
    if not overwrite and directory.exists() and any(directory.iterdir()):
        raise InputError(
            f"{directory} has files already. Choose another --output, or replace them with "
            "--overwrite."
        )
    with RunFile.open(path) as file:
        if not file.analyses:
            raise InputError(
                f"{path} has not been analysed yet: run `kpflow analyze {path}` first."
            )
        return save_figures(file, directory)


def is_run_file(path: Path) -> bool:
    """Return whether a file is HDF5, hence a run file rather than a network.

    Raises
    ------
    InputError
        If there is no such file, or one that is called HDF5 and is not.
    """
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a directory; a run file or a network is wanted.")
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    if not is_hdf5 and path.suffix.lower() in (".h5", ".hdf5"):
        raise InputError(f"{path} is not an HDF5 file, so it is not a run file.")
    return is_hdf5


def has_whole_analysis(file: RunFile) -> bool:
    """Return whether the analyses reach the last checkpoint."""
    return bool(file.analyses) and file.analyses[-1].iteration == file.iterations[-1]

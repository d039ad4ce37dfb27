"""The operations on the files of a session's workspace."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Response

from digitorn_testing._generated import models, operations
from digitorn_testing.fakes._store.sessions import Session
from digitorn_testing.fakes._store.workspace import File, Version, is_valid_path

from .dependencies import OwnedSession, SessionIfAny
from .routing import SoftFailed, serve

router = APIRouter()

_LARGEST_FILE: Final = 10 * 1024 * 1024
"""Most bytes of a file (contract: rest, section 6.1)."""

_FILES: Final = "files"
"""The preview's channel that shows files."""


async def _file_path(_session: OwnedSession, file_path: str) -> str:
    # Check the session first: its existence does not depend on the path.
    if not is_valid_path(file_path):
        raise HTTPException(400, f"Invalid path: {file_path!r}")
    return file_path


FilePath = Annotated[str, Depends(_file_path)]


# --- files


# Before the file itself, whose path may have slashes.
@serve(router, operations.GET_FILE_HISTORY)
async def get_file_history(session: OwnedSession, file_path: FilePath) -> models.FileHistory:
    file = session.files.get(file_path)
    versions = file.versions if file is not None else ()
    return models.FileHistory(path=file_path, revisions=[one.revision() for one in versions])


@serve(router, operations.GET_FILE)
async def get_file(
    session: OwnedSession,
    file_path: FilePath,
    include_baseline: bool = False,
    # No file is on disk only, but those that were attached have their bytes.
    raw: bool = False,
) -> models.WorkspaceFile | Response:
    file = session.files.get(file_path)
    if file is None:
        raise HTTPException(404, f"File not found: {file_path}")
    if raw and file.attachment is not None:
        return Response(file.attachment.data, media_type=file.attachment.mime)
    shown = models.WorkspaceFile(
        path=file.path, payload=file.with_content(), unified_diff_pending=file.pending_diff()
    )
    return shown.model_copy(update={"baseline": file.baseline}) if include_baseline else shown


@serve(router, operations.WRITE_FILE)
async def write_file(
    session: OwnedSession, file_path: FilePath, body: models.WriteFileRequest
) -> models.FileWriteResult:
    version = Version(body.content, body.source, approved=body.auto_approve)
    if version.size > _LARGEST_FILE:
        raise HTTPException(413, f"the content is larger than {_LARGEST_FILE} bytes")
    session.files.write(file_path, version)
    session.touch()
    return models.FileWriteResult(path=file_path, size=version.size, validation=version.validation)


@serve(router, operations.UNDO_SESSION)
async def undo_session(session: SessionIfAny) -> models.UndoResult:
    undone = session.files.undo() if session is not None else None
    if session is None or undone is None:
        raise SoftFailed("nothing to undo")
    restored = undone.restored.latest.size if undone.restored is not None else 0
    return models.UndoResult(path=undone.path, restored_bytes=restored, remaining=session.files.writes)


# --- all of them


@serve(router, operations.GET_WORKSPACE)
async def get_workspace(session: OwnedSession) -> models.WorkspaceView:
    return models.WorkspaceView(
        session_id=session.id,
        app_id=session.owner.app_id,
        workspace=session.workspace,
        workdir=session.workspace,
        workspace_mode="none",
        snapshot=models.WorkspacePreview(state={}, resources=_resources(session), hydrated=False),
        git=None,
    )


@serve(router, operations.GET_CODE_SNAPSHOT)
async def get_code_snapshot(session: SessionIfAny, session_id: str) -> models.CodeSnapshot:
    return models.CodeSnapshot(session_id=session_id, files={one.path: one.meta() for one in _files(session)})


@serve(router, operations.GET_SESSION_PREVIEW)
async def get_session_preview(session: SessionIfAny) -> models.SessionPreview:
    return models.SessionPreview(state={}, resources=_resources(session))


def _files(session: Session | None) -> list[File]:
    return session.files.files if session is not None else []


def _resources(session: Session | None) -> dict[str, dict[str, dict[str, object]]]:
    return {_FILES: {one.path: one.with_content().to_wire() for one in _files(session)}}

"""Where everything lies under the data root, and how files get there whole.

Nothing else in the project composes a path of the data root.
"""

from aivj_assets.layout.data_root import (
    DATA_ROOT_VARIABLE,
    DataRoot,
    project_root,
    resolve_data_root,
    web_engine_dir,
)
from aivj_assets.layout.folders import (
    BatchDir,
    LineageDir,
    StyleMapDir,
    StyleMapSide,
)
from aivj_assets.layout.names import (
    AUDIO_STYLE_NAME,
    BATCHES_NAME,
    LOCK_NAME,
    MANIFEST_NAME,
    PUBLISHED_CLUSTERS_NAME,
    PUBLISHED_PREFIX,
    QA_NAME,
    STYLE_POLICY_NAME,
    BatchKey,
    check_pack_name,
    safe_file_stem,
    style_index_name,
)
from aivj_assets.layout.writing import (
    DISK_FULL_ERRNOS,
    replace_file,
    replace_folder,
    sha256_file,
    start_new_log,
    write_bytes_atomic,
    write_json_atomic,
    write_json_files,
    write_json_rows,
    write_text_atomic,
)

__all__ = [
    "AUDIO_STYLE_NAME",
    "BATCHES_NAME",
    "DATA_ROOT_VARIABLE",
    "DISK_FULL_ERRNOS",
    "LOCK_NAME",
    "MANIFEST_NAME",
    "PUBLISHED_CLUSTERS_NAME",
    "PUBLISHED_PREFIX",
    "QA_NAME",
    "STYLE_POLICY_NAME",
    "BatchDir",
    "BatchKey",
    "DataRoot",
    "LineageDir",
    "StyleMapDir",
    "StyleMapSide",
    "check_pack_name",
    "project_root",
    "replace_file",
    "replace_folder",
    "resolve_data_root",
    "safe_file_stem",
    "sha256_file",
    "start_new_log",
    "style_index_name",
    "web_engine_dir",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_json_files",
    "write_json_rows",
    "write_text_atomic",
]

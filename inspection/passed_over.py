"""Which files and folders are passed over beside photographs, by their names alone: what is hidden, what systems create, and
copies of photographs. The survey and the page leave out the same.
"""

# Files and folders that Windows, macOS, Linux and network drives create: recycle bins, thumbnails, lost files.
OF_SYSTEMS = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    *("$recycle.bin", "system volume information", "__macosx", "lost+found", "@eadir", "@__thumb", "#recycle", "@recycle"),
)
# Copies of photographs that something else keeps beside them, by the ends of their names.
COPIES = {
    ".thm": "what a camera keeps to show a photograph or a film in small",
    ".scr": "what a DJI drone keeps to show a photograph on its screen",
    ".ovr": "what GDAL or QGIS keeps to show a picture in small",
    ".msk": "the mask of a picture that GDAL or QGIS keeps beside it",
    "_original": "what ExifTool kept of a photograph before it changed its data",
    "~": "what an editor kept of a file before it was changed",
}


def is_hidden(name: str) -> bool:
    """Whether a file or a folder is hidden, or was created by the system, by the last part of its path."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def why_copy(name: str) -> str:
    """Why a file is only a copy of a photograph, by its name; empty if it is none."""
    what = next((what for end, what in COPIES.items() if name.lower().endswith(end)), "")
    return what and f"It is {what}. If it is a photograph of its own, give it another name."

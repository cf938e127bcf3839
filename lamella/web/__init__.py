"""What the server offers besides the DICOM doors: the JSON API, health, metrics, a first page."""

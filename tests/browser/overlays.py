"""What lies over the CT stack: a segmentation, contours and a measurement, on its own UIDs."""

from __future__ import annotations

import io
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from tests.browser.specimens import CT_STUDY, SIZE, make_stack

SQUARE = slice(SIZE // 4, SIZE // 2)  # rows and columns of what is segmented, in each slice
MAKER: dict[str, Any] = {
    "manufacturer": "Lamella",
    "manufacturer_model_name": "Test",
    "software_versions": "1",
    "device_serial_number": "1",
}


def make_overlays() -> list[bytes]:
    """Return a SEG, an RTSTRUCT and an SR instance that refer to the CT stack."""
    stack = [complete(pydicom.dcmread(io.BytesIO(each))) for each in make_stack()]
    made = [make_segmentation(stack), make_contours(stack), make_report(stack)]
    return [write(ds) for ds in made]


def complete(image: Dataset) -> Dataset:
    """Give an image the empty attributes that highdicom copies."""
    for keyword in ("PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
        setattr(image, keyword, "")
    return image


def make_segmentation(stack: list[Dataset]) -> Dataset:
    """Return a SEG of one square."""
    mask = np.zeros((len(stack), SIZE, SIZE), dtype=bool)
    mask[:, SQUARE, SQUARE] = True
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Square",
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=stack,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=f"{CT_STUDY}.2",
        series_number=2,
        sop_instance_uid=f"{CT_STUDY}.2.1",
        instance_number=1,
        series_description="Segmented square",
        **MAKER,
    )


def make_report(stack: list[Dataset]) -> Dataset:
    """Return an SR (TID 1500) with the length of one line on the first slice."""
    image = stack[-1]
    line = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array([[30.0, 64.0], [98.0, 64.0]]),
        source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=f"{CT_STUDY}.3.2", identifier="Cornerstone3DTools@^0.1.0:Length"
        ),
        referenced_region=line,
        finding_type=codes.SCT.Lesion,
        measurements=[
            hd.sr.Measurement(name=codes.SCT.Length, value=68.0, unit=codes.UCUM.Millimeter)
        ],
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_person_context=hd.sr.ObserverContext(
                observer_type=codes.DCM.Person,
                observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(
                    name="Reader^One"
                ),
            )
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[image],
        content=report,
        series_number=3,
        series_instance_uid=f"{CT_STUDY}.3",
        sop_instance_uid=f"{CT_STUDY}.3.1",
        instance_number=1,
        series_description="Measured line",
        manufacturer="Lamella",
    )


def make_contours(stack: list[Dataset]) -> Dataset:
    """Return an RTSTRUCT with one square contour a slice."""
    ds = Dataset()
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime"):
        setattr(ds, keyword, stack[0][keyword].value)
    ds.SOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = f"{CT_STUDY}.4.1"
    ds.SeriesInstanceUID = f"{CT_STUDY}.4"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "RTSTRUCT", 4, 1
    ds.SeriesDescription = "Contoured square"
    ds.StructureSetLabel, ds.StructureSetName = "SQUARE", "Square"
    ds.StructureSetDate, ds.StructureSetTime = "20260102", "101112"
    frame_uid = stack[0].FrameOfReferenceUID
    referenced = nest(
        FrameOfReferenceUID=frame_uid,
        RTReferencedStudySequence=[
            nest(
                ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
                ReferencedSOPInstanceUID=CT_STUDY,
                RTReferencedSeriesSequence=[
                    nest(
                        SeriesInstanceUID=stack[0].SeriesInstanceUID,
                        ContourImageSequence=[refer_to(image) for image in stack],
                    )
                ],
            )
        ],
    )
    ds.ReferencedFrameOfReferenceSequence = [referenced]
    ds.StructureSetROISequence = [
        nest(
            ROINumber=1,
            ReferencedFrameOfReferenceUID=frame_uid,
            ROIName="Square",
            ROIGenerationAlgorithm="MANUAL",
        )
    ]
    ds.ROIContourSequence = [
        nest(
            ROIDisplayColor=[255, 0, 0],
            ReferencedROINumber=1,
            ContourSequence=[outline(image) for image in stack],
        )
    ]
    ds.RTROIObservationsSequence = [
        nest(
            ObservationNumber=1,
            ReferencedROINumber=1,
            RTROIInterpretedType="ORGAN",
            ROIInterpreter="",
        )
    ]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def outline(image: Dataset) -> Dataset:
    """Return the contour of the square on one slice, in millimetres."""
    low, high, z = SQUARE.start, SQUARE.stop, image.ImagePositionPatient[2]
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return nest(
        ContourImageSequence=[refer_to(image)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(corners),
        ContourData=[value for x, y in corners for value in (x, y, float(z))],
    )


def refer_to(image: Dataset) -> Dataset:
    """Return an item that refers to an instance."""
    return nest(
        ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID
    )


def nest(**attributes: Any) -> Dataset:
    """Return an item of a sequence."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def write(ds: Dataset) -> bytes:
    """Return a dataset as a Part 10 file."""
    buffer = io.BytesIO()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

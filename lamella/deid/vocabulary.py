"""Words that identify nobody, though a header may have them where names and places stand.

"Hospital" in an institution's name, "CHEST" as a phantom's family name, "Gleason" as a score.
"""

from __future__ import annotations

_ORGANISATIONS = """
center centre clinic clinica college department dept diagnostic foundation general health
healthcare hospital hospitals imaging institute klinik klinikum laboratory medical medicine
national radiology radiologie regional research school service services system university
universitat krankenhaus hopital
"""
_BODY = """
abdomen abdominal ankle aorta arm artery axial back bladder bone brain breast cardiac carotid
cerebral cervical chest clavicle coronal dental ear elbow extremity eye face femur finger foot
hand head heart hip jaw kidney knee leg left liver lower lumbar lung lungs mandible neck nose
oblique orbit pancreas pelvis prostate right sagittal shoulder skull spine spleen sternum thigh
thoracic thorax thumb toe upper uterus vein wrist abdomenpelvis chestabdomen chestabdpelvis cspine
extremity headneck lspine neckchest neckchestabdomen sspine tspine wholebody
"""
_TECHNIQUE = """
adc additional algorithm automatic average bold color colour composite delayed derived diffusion
dynamic echo field fields filtered fluoro fraction fusion gated gradient inversion isocenter label
magnitude map mask max maximum mean mip min minimum minip mosaic motion mpr multi multiphase
original parallel parametric perfusion phase plan planar primary projection proton pulse real
reconstruction reformatted registration resampled rest rotation secondary segmentation
single source spin static stress stroke structure structured summary tof tomo tomography trace
treatment tumor tumour variable volumetric whole
angio angiography contrast ct cr dicom digital dx enhanced exam experiment flair helical image
images localizer mammography mammo mg modality mono mr mri nm normal pet phantom portable post
pre protocol quality range report routine scan scanner scout screening sequence series slice spect
spiral standard study subject technique test ultrasound us view volume wl xa xray
"""
_GENERAL = """
adult and anon anonymized anonymous anonymised child female for from male mister missing name
none null of other patient person private removed sample sir the unknown user with without
mrs miss doctor prof professor phd
"""
_EPONYMS = """
alzheimer baker bartholin bennett bosniak chiari cobb colles coombs crohn cushing doppler
down fallot fleischner fontan foley gleason graves hashimoto hodgkin hounsfield kaplan killian
kerley marfan meckel morton paget parkinson perthes rads scheuermann schmorl sjogren swan
valsalva wegener wilms
"""
_VENDORS = """
achieva acuson agfa aquilion artis avanto biograph brilliance canon carestream discovery elscint
espree fuji fujifilm ge gems healthineers hitachi hologic ingenia kodak lightspeed magnetom
mindray optima philips picker prisma revolution samsung selenia sensation shimadzu siemens signa
skyra somatom sonosite symbia toshiba trio varian verio vivid voluson
"""

_COMMON = frozenset(
    " ".join((_ORGANISATIONS, _BODY, _TECHNIQUE, _GENERAL)).split()
)  # fmt: skip
EPONYMS = frozenset(_EPONYMS.split())
VENDORS = frozenset(_VENDORS.split())
ALLOWED = EPONYMS | VENDORS
"""Names that stand for a disease, a score or a device when nothing says that a person is meant."""


def is_common(word: str) -> bool:
    """Tell whether a folded word is no identifier by itself."""
    return word in _COMMON
